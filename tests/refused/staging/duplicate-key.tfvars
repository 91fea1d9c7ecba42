# A key twice.
# expect: envs/staging.tfvars: line 7: env_prefix is given twice; keep one
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
env_prefix  = "x-staging"
