# Namespaces for pipelines that are an environment's, or the platform's.
# expect: envs/infra.tfvars: kubero.namespaces.data-staging: found "data-staging"; give a pipeline of another name: that one is the platform's, or an environment's
# expect: envs/infra.tfvars: kubero.namespaces.kube-system: found "kube-system"; give a pipeline of another name: that one is the platform's, or an environment's
# expect: envs/infra.tfvars: kubero.namespaces.iac: found "iac"; give a pipeline and a phase of it such as shop-production
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "kubero", "operators"]
kubero = { namespaces = { data-staging = {}, kube-system = {}, iac = {} } }
