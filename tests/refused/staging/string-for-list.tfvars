# A text where a list is wanted.
# expect: envs/staging.tfvars: redis.clients: found "apps" (a string); give a list
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { clients = "apps" }
