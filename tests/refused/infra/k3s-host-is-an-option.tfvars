# Hosts that a shell or ssh would read as something else.
# expect: envs/infra.tfvars: k3s_servers.0.host: found "-oProxyCommand=id"; give a host name or an IPv4 address, in lower case
# expect: envs/infra.tfvars: k3s_servers.1.host: found "a;id"; give a host name or an IPv4 address, in lower case
# expect: envs/infra.tfvars: k3s_servers.2.host: found ""; give a host name or an IPv4 address, in lower case
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "-oProxyCommand=id" },
  { name = "beta", host = "a;id" },
  { name = "gamma", host = "" },
]
