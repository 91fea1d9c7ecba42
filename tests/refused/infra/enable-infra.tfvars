# The switch of infra in its file, where nobody would have to think of it again.
# expect: envs/infra.tfvars: enable_infra: never in a file; remove it and give it on the command line, -var=enable_infra=...
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
enable_infra = true
