# A path that belongs on the command line.
# expect: envs/staging.tfvars: kubeconfig: never in a file; remove it and give it on the command line, -var=kubeconfig=...
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
kubeconfig = "~/.kube/config"
