# An agent that is listed twice.
# expect: envs/infra.tfvars: k3s_agents: found the name "delta" twice; give each name once
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "alpha.example.com" },
]
k3s_agents = [
  { name = "delta", host = "delta.example.com" },
  { name = "delta", host = "delta.example.com" },
]
