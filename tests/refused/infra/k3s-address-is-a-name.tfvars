# A name where an address must be.
# expect: envs/infra.tfvars: k3s_servers.0.internal_address: found "alpha.internal"; give an IPv4 address such as 10.0.0.2, or ""
# expect: envs/infra.tfvars: k3s_servers.0.external_address: found "10.0.0.256"; give an IPv4 address such as 10.0.0.2, or ""
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "alpha.example.com", internal_address = "alpha.internal", external_address = "10.0.0.256" },
]
