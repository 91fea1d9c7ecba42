# A size without quotes.
# expect: envs/staging.tfvars: redis.memory: found 256 (a number); give a string
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { memory = 256 }
