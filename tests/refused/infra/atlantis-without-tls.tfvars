# An address to which the token would go in clear.
# expect: envs/infra.tfvars: atlantis.base_url: found "http://git.example.com"; give an address such as https://git.example.com, or ""
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["atlantis", "operators"]
atlantis = { base_url = "http://git.example.com" }
