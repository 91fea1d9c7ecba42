# A boolean in quotes.
# expect: envs/infra.tfvars: tenants.test.protected: found "false" (a string); give a boolean
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
tenants = { test = { protected = "false" } }
