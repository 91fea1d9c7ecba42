# Settings of K3s that are none.
# expect: envs/infra.tfvars: k3s.tls_sans.0: found "*"; give a host name or an IPv4 address, in lower case
# expect: envs/infra.tfvars: k3s.snapshot.schedule: found "@daily"; give a schedule of five fields such as "0 */6 * * *"
# expect: envs/infra.tfvars: k3s.installer: found "http://get.k3s.io"; give an address that begins with https://
# expect: envs/infra.tfvars: k3s.installer_sha256: found "abc"; give a SHA-256 in 64 hexadecimal digits, or ""
# expect: envs/infra.tfvars: k3s.ssh_key: found "id_ed25519"; give a path that begins with / or ~/, or ""
# expect: envs/infra.tfvars: k3s.version: unknown key; 
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s = {
  tls_sans = ["*"]
  snapshot = { schedule = "@daily" }
  installer = "http://get.k3s.io"
  installer_sha256 = "abc"
  ssh_key = "id_ed25519"
  version = "v1.36.4+k3s1"
}
