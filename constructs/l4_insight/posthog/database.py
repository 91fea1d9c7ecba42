"""What PostHog has in the environment's Postgres: its databases, and the memory that its connections need there.

All of PostHog's tables are in one database: upstream's own small deployment puts persons and cohorts there too. Only
Cyclotron, the queue of workflows that wait, would need one of its own, and no image that is shipped makes its tables.
"""

SYSTEM = "posthog"
DATABASES = ("posthog",)
# The Secret with its role's name and password, beside its pods.
CREDENTIAL = "posthog-postgres"
# The pools of its services together: some hundred, and Postgres has a connection for every 8 MiB.
LEAST_MEBIBYTES = 1024
