# A number in a list of names.
# expect: envs/staging.tfvars: redis.clients.1: found 5 (a number); give a string
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { clients = ["apps", 5] }
