# Postgres asks for more memory than the quota of its namespace has.
# expect: envs/infra.tfvars: quotas.staging.data.memory: found "3Gi"; data-staging needs
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["postgres"]
postgres = { memory = "4Gi" }
