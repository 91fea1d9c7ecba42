# A provider by webhook, without the image to run.
# expect: envs/infra.tfvars: dns: found {"provider": "webhook"}; give webhook.repository, which the provider "webhook" needs; give webhook.tag, which
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "dns"]
dns = { provider = "webhook" }
