# A boolean where a text is wanted.
# expect: envs/staging.tfvars: redis.storage: found true (a boolean); give a string
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { storage = true }
