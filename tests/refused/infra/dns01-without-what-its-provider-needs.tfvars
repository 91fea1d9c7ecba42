# A challenge in a zone whose provider needs to know more.
# expect: envs/infra.tfvars: certificates.dns01: found {"provider": "rfc2136", "rfc2136": {"nameserver": "ns1.ex...; give rfc2136.key_name, which the provider "rfc2136" needs
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "dns"]
certificates = { challenge = "dns01", dns01 = { provider = "rfc2136", rfc2136 = { nameserver = "ns1.example.com:53" } } }
