# A misspelt key in an object.
# expect: envs/staging.tfvars: redis.memori: unknown key; did you mean memory?
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { memori = "1Gi" }
