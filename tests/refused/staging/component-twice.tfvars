# A component twice.
# expect: envs/staging.tfvars: components: found ["redis", "redis"]; give each component once
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["redis", "redis"]
