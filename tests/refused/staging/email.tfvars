# An e-mail address without its domain.
# expect: envs/staging.tfvars: signoz.admin_email: found "ops"; give an e-mail address such as ops@example.com, or ""
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
signoz = { admin_email = "ops" }
