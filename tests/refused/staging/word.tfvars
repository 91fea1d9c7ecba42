# A word without quotes.
# expect: envs/staging.tfvars: line 5: found an expression; write the value itself, and text in quotes
environment = "staging"
env_prefix = "x-staging"
base_domain = example
components = []
