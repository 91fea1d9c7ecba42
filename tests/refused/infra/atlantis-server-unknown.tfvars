# A server that Atlantis is not set up for.
# expect: envs/infra.tfvars: atlantis.vcs: found "bitbucket"; give "github", "github-app", "gitlab" or "gitea"
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["atlantis", "operators"]
atlantis = { vcs = "bitbucket" }
