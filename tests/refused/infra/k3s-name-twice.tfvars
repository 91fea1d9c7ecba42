# Two nodes of one name.
# expect: envs/infra.tfvars: k3s_servers: found the name "alpha" twice; give each name once
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "alpha.example.com" },
  { name = "beta", host = "beta.example.com" },
  { name = "alpha", host = "gamma.example.com" },
]
