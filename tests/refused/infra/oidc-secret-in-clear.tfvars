# A client's secret where the name of a Secret belongs.
# expect: envs/infra.tfvars: oidc.client_secret: found "GOCSPX-a_B"; give a name of lower-case letters, digits and dashes, or ""
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
oidc = { issuer = "https://sign-in.example.com", client_id = "strata", client_secret = "GOCSPX-a_B" }
