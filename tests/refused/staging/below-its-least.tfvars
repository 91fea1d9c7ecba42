# A number below its least.
# expect: envs/staging.tfvars: redis.credentials_revision: found 0; give at least 1
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { credentials_revision = 0 }
