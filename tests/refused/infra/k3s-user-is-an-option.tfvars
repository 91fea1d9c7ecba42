# A user that ssh would read as an option.
# expect: envs/infra.tfvars: k3s_servers.0.user: found "-oProxyCommand=id"; give a user name of lower-case letters, digits, _ and -
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "alpha", host = "alpha.example.com", user = "-oProxyCommand=id" },
]
