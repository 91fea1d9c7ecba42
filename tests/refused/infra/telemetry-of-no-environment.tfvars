# Telemetry that is sent to an environment that is not there.
# expect: envs/infra.tfvars: telemetry.environment: found "qa"; give an environment that has signoz among its components: "prod", "staging" or "test"
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators", "certificates", "telemetry"]
telemetry = { environment = "qa" }
