# A grant to an environment that has no file.
# expect: envs/infra.tfvars: tenants.qa: there is no envs/qa.tfvars; add the file or remove the entry
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "operators"]
tenants = { qa = {} }
