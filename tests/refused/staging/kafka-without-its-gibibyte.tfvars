# Less memory than Redpanda starts with.
# expect: envs/staging.tfvars: posthog.kafka.memory: found "1Gi"; give at least 1344Mi
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
posthog = { kafka = { memory = "1Gi" } }
