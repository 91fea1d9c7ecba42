# A template that is none, in a text that may not have one.
# expect: envs/staging.tfvars: base_domain: found "${var.domain}"; give a domain such as example.com
environment = "staging"
env_prefix = "x-staging"
base_domain = "$${var.domain}"
components = []
