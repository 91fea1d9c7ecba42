# A quota for what cannot be an environment.
# expect: envs/infra.tfvars: quotas.Prod!: found "Prod!"; give a name of lower-case letters, digits and dashes
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
quotas = { "Prod!" = {} }
