# A machine that is a server and an agent.
# expect: envs/infra.tfvars: k3s_agents: found the host "alpha.example.com" of a server; a node is a server or an agent
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "alpha.example.com" },
]
k3s_agents = [
  { name = "delta", host = "alpha.example.com" },
]
