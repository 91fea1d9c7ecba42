# A range of addresses, where one is asked for, and an address that is none.
# expect: envs/infra.tfvars: dns.default_targets.0: found "203.0.113.0/24"; give an IP address such as 203.0.113.7
# expect: envs/infra.tfvars: dns.default_targets.1: found "203.0.113.256"; give an IP address such as 203.0.113.7
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "dns"]
dns = { default_targets = ["203.0.113.0/24", "203.0.113.256"] }
