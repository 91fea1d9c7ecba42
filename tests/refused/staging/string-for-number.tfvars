# A number in quotes.
# expect: envs/staging.tfvars: redis.credentials_revision: found "2" (a string); give a whole number
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { credentials_revision = "2" }
