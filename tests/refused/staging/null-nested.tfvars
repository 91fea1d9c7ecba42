# Nothing, in the place of a default.
# expect: envs/staging.tfvars: redis.memory: found null (nothing); give a string
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { memory = null }
