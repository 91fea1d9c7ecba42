# Logs of prod that would be read in the SigNoz of staging.
# expect: envs/infra.tfvars: telemetry.logs.environments: found "prod"; give only "staging" or "test": what prod logs is for its own SigNoz alone
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators", "certificates", "telemetry"]
telemetry = {
  environment = "staging"
  logs        = { environments = ["test", "prod"] }
}
