# A list where entries by name are wanted.
# expect: envs/infra.tfvars: quotas: found ["prod"] (a list); give an object
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
quotas = ["prod"]
