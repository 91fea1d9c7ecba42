# A provider without the client that tokens are made for.
# expect: envs/infra.tfvars: oidc: found {"issuer": "https://sign-in.example.com"}; give client_id, which issuer needs
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
oidc = { issuer = "https://sign-in.example.com" }
