# A template within an escaped one.
# expect: envs/staging.tfvars: line 5: found a quote or a template within $${...}; write \" and \u007b there
environment = "staging"
env_prefix = "x-staging"
base_domain = "$${${var.domain}}"
components = []
