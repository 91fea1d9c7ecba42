# Ports that are none.
# expect: envs/infra.tfvars: k3s_servers.0.port: found 0; give at least 1
# expect: envs/infra.tfvars: k3s_agents.0.port: found 65536; give at most 65535
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "alpha.example.com", port = 0 },
]
k3s_agents = [
  { name = "delta", host = "delta.example.com", port = 65536 },
]
