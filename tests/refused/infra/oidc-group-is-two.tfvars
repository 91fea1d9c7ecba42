# Two groups in one string.
# expect: envs/infra.tfvars: oidc.viewers.0: found "everybody,platform"; give a group as the provider calls it, without the prefix
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
oidc = { issuer = "https://sign-in.example.com", client_id = "strata", viewers = ["everybody,platform"] }
