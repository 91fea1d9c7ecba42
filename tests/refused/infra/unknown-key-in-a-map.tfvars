# A misspelt key in an entry of a map.
# expect: envs/infra.tfvars: quotas.prod.data.memmory: unknown key; did you mean memory?
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
quotas = { prod = { data = { memmory = "1Gi" } } }
