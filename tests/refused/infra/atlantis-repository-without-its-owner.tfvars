# A host where a repository is wanted.
# expect: envs/infra.tfvars: atlantis.repository: found "github.com"; give a repository such as github.com/example/platform
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["atlantis", "operators"]
atlantis = { repository = "github.com" }
