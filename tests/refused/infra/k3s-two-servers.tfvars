# Two servers, of which neither may fail.
# expect: envs/infra.tfvars: k3s_servers: 2 servers cannot form an etcd quorum; give 1, 3 or 5
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "alpha.example.com" },
  { name = "beta", host = "beta.example.com" },
]
