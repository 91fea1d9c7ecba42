# A list made of another.
# expect: envs/staging.tfvars: line 6: found an expression; write the value itself, and text in quotes
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = [for name in ["redis"] : name]
