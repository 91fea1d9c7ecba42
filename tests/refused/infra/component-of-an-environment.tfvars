# A component of an environment in infra.
# expect: envs/infra.tfvars: components.1: found "redis"; give "atlantis", "certificates", "dashboard", "database", "dns", "kubero", "operators", "telemetry" or "vault"
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators", "redis"]
