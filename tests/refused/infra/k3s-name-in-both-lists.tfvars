# A node that is a server and an agent by its name.
# expect: envs/infra.tfvars: k3s_agents: found the name "alpha" of a server; a node is a server or an agent
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "alpha.example.com" },
]
k3s_agents = [
  { name = "alpha", host = "delta.example.com" },
]
