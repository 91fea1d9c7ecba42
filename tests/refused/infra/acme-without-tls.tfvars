# An address that is not https.
# expect: envs/infra.tfvars: certificates.acme_server: found "http://example.com"; give an address that begins with https://
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
certificates = { acme_server = "http://example.com" }
