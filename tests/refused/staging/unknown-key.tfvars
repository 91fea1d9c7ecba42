# A key that no stack has.
# expect: envs/staging.tfvars: region: unknown key; the keys here are
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
region = "eu"
