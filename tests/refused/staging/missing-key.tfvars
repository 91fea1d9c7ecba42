# A key that every file has is missing.
# expect: envs/staging.tfvars: base_domain: missing; add it
environment = "staging"
env_prefix = "x-staging"
components = []
