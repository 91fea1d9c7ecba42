# A line end after a backslash, within an escaped template.
# expect: envs/staging.tfvars: line 5: found a line end in a string; close the quotes in the same line
environment = "staging"
env_prefix = "x-staging"
base_domain = "$${\
}"
components = []
