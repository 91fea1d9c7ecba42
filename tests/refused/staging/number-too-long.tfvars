# A number that JSON cannot hold.
# expect: envs/staging.tfvars: line 7: found a number of 22 digits; give at most 15
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { credentials_revision = 1000000000000000000000 }
