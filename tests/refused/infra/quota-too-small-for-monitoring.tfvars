# What L4 of an environment asks for does not fit its quota.
# expect: envs/infra.tfvars: quotas.staging.monitoring.cpu: found "10m"; monitoring-staging needs
# expect: envs/infra.tfvars: quotas.staging.monitoring.memory: found "128Mi"; monitoring-staging needs
# expect: envs/infra.tfvars: quotas.staging.monitoring.storage: found "512Mi"; monitoring-staging needs
# expect: envs/infra.tfvars: quotas.staging.monitoring.pods: found 1; monitoring-staging needs
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "operators"]
quotas = { staging = { monitoring = { cpu = "10m", memory = "128Mi", storage = "512Mi", pods = 1 } } }
