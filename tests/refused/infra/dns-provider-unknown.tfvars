# A provider that external-dns does not have within it.
# expect: envs/infra.tfvars: dns.provider: found "hetzner"; give "akamai", "alibabacloud", "aws",
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "dns"]
dns = { provider = "hetzner" }
