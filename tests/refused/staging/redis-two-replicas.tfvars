# Two servers, of which neither can tell which one is cut off.
# expect: envs/staging.tfvars: redis.replicas: found 2; give 1 or 3
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { replicas = 2 }
