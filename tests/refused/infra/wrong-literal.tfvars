# A challenge that there is not.
# expect: envs/infra.tfvars: certificates.challenge: found "dns01"; give "http01" or "cloudflare"
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
certificates = { challenge = "dns01" }
