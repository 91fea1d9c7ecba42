# A key that only infra has.
# expect: envs/staging.tfvars: quotas: unknown key; the keys here are
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
quotas = {}
