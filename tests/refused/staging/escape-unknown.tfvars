# An escape that Terraform does not know.
# expect: envs/staging.tfvars: line 5: unknown escape \.; a backslash is written \\ and a quote \"
environment = "staging"
env_prefix = "x-staging"
base_domain = "example\.com"
components = []
