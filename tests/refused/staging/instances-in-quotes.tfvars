# A number in quotes, where only some numbers are allowed.
# expect: envs/staging.tfvars: postgres.instances: found "3"; give 1, 3 or 5
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres = { instances = "3" }
