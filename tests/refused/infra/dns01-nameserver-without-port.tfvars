# A name server without its port.
# expect: envs/infra.tfvars: certificates.dns01.nameservers.0: found "1.1.1.1"; give a name server with its port such as 1.1.1.1:53
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "dns"]
certificates = { dns01 = { nameservers = ["1.1.1.1"] } }
