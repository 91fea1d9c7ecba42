# More servers than etcd is made for.
# expect: envs/infra.tfvars: k3s_servers: 7 servers cannot form an etcd quorum; give 1, 3 or 5
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
k3s_servers = [
  { name = "node-0", host = "node-0.example.com" },
  { name = "node-1", host = "node-1.example.com" },
  { name = "node-2", host = "node-2.example.com" },
  { name = "node-3", host = "node-3.example.com" },
  { name = "node-4", host = "node-4.example.com" },
  { name = "node-5", host = "node-5.example.com" },
  { name = "node-6", host = "node-6.example.com" },
]
