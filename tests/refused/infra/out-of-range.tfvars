# Numbers out of their range.
# expect: envs/infra.tfvars: tenants.test.priority: found 1000000; give at most 999999
# expect: envs/infra.tfvars: tenants.prod.priority: found 0; give at least 1
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
tenants = { test = { priority = 1000000 }, prod = { priority = 0 } }
