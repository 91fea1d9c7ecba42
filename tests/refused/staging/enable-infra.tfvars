# A variable that belongs on the command line.
# expect: envs/staging.tfvars: enable_infra: never in a file; remove it and give it on the command line, -var=enable_infra=...
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
enable_infra = false
