# A namespace of another environment as an application.
# expect: envs/infra.tfvars: tenants.staging.applications.0: found "data-prod"; give a namespace of your own
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
tenants = { staging = { applications = ["data-prod"] } }
