# A challenge that there is not.
# expect: envs/infra.tfvars: certificates.challenge: found "cloudflare"; give "http01" or "dns01"
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
certificates = { challenge = "cloudflare" }
