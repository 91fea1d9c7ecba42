# Two nodes on one machine.
# expect: envs/infra.tfvars: k3s_servers: found the host "10.0.0.1" twice; give each host once
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "10.0.0.1" },
  { name = "beta", host = "beta.example.com" },
  { name = "gamma", host = "10.0.0.1" },
]
