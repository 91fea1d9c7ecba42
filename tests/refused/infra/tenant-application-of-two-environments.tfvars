# A namespace that would read the secrets of two environments.
# expect: envs/infra.tfvars: tenants: found the application "shop" twice; give each to one environment, whose secrets it reads
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "operators"]
tenants = { prod = { applications = ["shop"] }, staging = { applications = ["blog", "shop"] } }
