# A context that belongs on the command line.
# expect: envs/staging.tfvars: kube_context: never in a file; remove it and give it on the command line, -var=kube_context=...
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
kube_context = "prod"
