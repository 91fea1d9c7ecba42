# A hundred topics of a gigabyte each, in twenty.
# expect: envs/staging.tfvars: posthog.kafka: found {"retention_size": "1Gi"}; give less of retention_size, or more storage: 100 topics of retention_size and 20Mi must fit into 90% of it
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
posthog = { kafka = { retention_size = "1Gi" } }
