# A misspelt key.
# expect: envs/staging.tfvars: postgress: unknown key; did you mean postgres?
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgress = { instances = 3 }
