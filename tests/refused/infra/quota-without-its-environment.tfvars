# A quota for an environment that has no file.
# expect: envs/infra.tfvars: quotas.qa: there is no envs/qa.tfvars; add the file or remove the entry
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "operators"]
quotas = { qa = {} }
