# Logs of an environment's namespace, named as one's own.
# expect: envs/infra.tfvars: telemetry.logs.namespaces.0: found "data-prod"; give a namespace of your own: environments never reach into each other
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators", "certificates", "telemetry"]
telemetry = {
  environment = "staging"
  logs        = { namespaces = ["data-prod"] }
}
