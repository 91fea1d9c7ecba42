# A key of a node that is misspelt.
# expect: envs/infra.tfvars: k3s_servers.0.host: missing; add it
# expect: envs/infra.tfvars: k3s_servers.0.hots: unknown key; did you mean host? The keys here are name, host, user, port, internal_address, external_address
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", hots = "alpha.example.com" },
]
