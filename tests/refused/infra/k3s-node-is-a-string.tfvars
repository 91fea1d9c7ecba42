# A host in the place of a node.
# expect: envs/infra.tfvars: k3s_servers.0: found "alpha.example.com" (a string); give an object
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = ["alpha.example.com"]
