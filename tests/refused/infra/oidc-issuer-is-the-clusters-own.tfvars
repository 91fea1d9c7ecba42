# The issuer of the cluster's own tokens, which the API server does not start with.
# expect: envs/infra.tfvars: oidc.issuer: found "https://kubernetes.default.svc.cluster.local"; give the issuer of people's tokens, not the cluster's own
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
oidc = { issuer = "https://kubernetes.default.svc.cluster.local", client_id = "strata" }
