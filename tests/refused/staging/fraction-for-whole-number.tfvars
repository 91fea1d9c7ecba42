# A fraction where a whole number is wanted.
# expect: envs/staging.tfvars: redis.credentials_revision: found 1.5 (a number); give a whole number
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { credentials_revision = 1.5 }
