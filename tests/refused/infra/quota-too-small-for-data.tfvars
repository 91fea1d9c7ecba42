# What L3 of an environment asks for does not fit its quota.
# expect: envs/infra.tfvars: quotas.staging.data.cpu: found "10m"; data-staging needs
# expect: envs/infra.tfvars: quotas.staging.data.memory: found "128Mi"; data-staging needs
# expect: envs/infra.tfvars: quotas.staging.data.storage: found "512Mi"; data-staging needs
# expect: envs/infra.tfvars: quotas.staging.data.pods: found 1; data-staging needs
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "operators"]
quotas = { staging = { data = { cpu = "10m", memory = "128Mi", storage = "512Mi", pods = 1 } } }
