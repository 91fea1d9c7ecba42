# A text over two lines.
# expect: envs/staging.tfvars: line 5: found a line end in a string; close the quotes in the same line
environment = "staging"
env_prefix = "x-staging"
base_domain = "example
.com"
components = []
