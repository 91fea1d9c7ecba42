# A template in a text.
# expect: envs/staging.tfvars: line 5: found a template in a string; write the value itself
environment = "staging"
env_prefix = "x-staging"
base_domain = "${var.domain}"
components = []
