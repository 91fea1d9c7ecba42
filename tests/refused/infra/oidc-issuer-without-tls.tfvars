# A provider that is not https, which the API server does not start with.
# expect: envs/infra.tfvars: oidc.issuer: found "http://sign-in.example.com"; give an address such as https://sign-in.example.com/realms/team
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
oidc = { issuer = "http://sign-in.example.com", client_id = "strata" }
