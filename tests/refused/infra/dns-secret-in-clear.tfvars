# A secret where the name of a Secret is asked for.
# expect: envs/infra.tfvars: dns.credentials.0.secret: missing; add it
# expect: envs/infra.tfvars: dns.credentials.0.key: missing; add it
# expect: envs/infra.tfvars: dns.credentials.0.value: unknown key; the keys here are name, secret, key
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "dns"]
dns = { provider = "ovh", credentials = [{ name = "OVH_APPLICATION_KEY", value = "in clear" }] }
