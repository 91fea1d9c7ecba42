# A command-line variable, a wrong name and a wrong value: no check hides another.
# expect: envs/staging.tfvars: kubeconfig: never in a file; remove it and give it on the command line, -var=kubeconfig=...
# expect: envs/staging.tfvars: environment: found "prod"; this file is for "staging": both must agree
# expect: envs/staging.tfvars: redis: found [] (a list); give an object
environment = "prod"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
kubeconfig = "a"
redis = []
