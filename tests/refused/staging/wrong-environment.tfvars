# The file of another environment.
# expect: envs/staging.tfvars: environment: found "prod"; this file is for "staging": both must agree
environment = "prod"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
