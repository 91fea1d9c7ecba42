# A prefix by which the provider could name the cluster's own groups, system:masters among them.
# expect: envs/infra.tfvars: oidc.prefix: found "system:"; give a prefix that is not the cluster's own
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
oidc = { issuer = "https://sign-in.example.com", client_id = "strata", prefix = "system:" }
