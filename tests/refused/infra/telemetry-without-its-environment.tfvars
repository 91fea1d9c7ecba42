# Telemetry that is sent nowhere.
# expect: envs/infra.tfvars: telemetry.environment: found ""; give an environment that has signoz among its components: "prod", "staging" or "test"
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators", "certificates", "telemetry"]
