# An environment's name in the file of infra.
# expect: envs/infra.tfvars: environment: found "staging"; this file is for "infra": both must agree
environment = "staging"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
