# Agents that have nobody to join.
# expect: envs/infra.tfvars: k3s_agents: 1 agents have no server to join; give k3s_servers
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_agents = [
  { name = "delta", host = "delta.example.com" },
]
