#!/bin/sh
# What converge.sh asks of one node: it runs there, as root, `sh -c "$(cat node.sh)" node <function> <argument>...`.
# What is long or secret comes by stdin, never as an argument. Only what is said to change something does.
set -eu
umask 077
unset KUBECONFIG
PATH=/usr/local/sbin:/usr/local/bin:/opt/bin:/usr/sbin:/usr/bin:/sbin:/bin

etc=/etc/rancher/k3s
config=$etc/config.yaml
# How a server came into its cluster. K3s reads it at the first start only: it is written once.
entry=$etc/config.yaml.d/cluster.yaml
token=$etc/token
# The version and configuration with which the node was last seen ready.
converged=$etc/strata-converged
data=/var/lib/rancher/k3s

fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

service() { # role
  if [ "$1" = server ]; then echo k3s; else echo k3s-agent; fi
}

# Two laptops, or the rest of a run that was killed, never change the same node at the same time.
lock() {
  exec 9>/run/strata-k3s.lock
  flock -w 60 9 || fail "another run is changing this node; wait for its end"
}

interface_of() { # address
  ip -o -4 addr show 2>/dev/null | awk -v wanted="$1" '{ split($4, parts, "/"); if (parts[1] == wanted) { print $2; exit } }'
}

# Prints the configuration that stdin begins, ended by what only the node knows.
wanted() { # internal address, or -
  cat
  if [ "$1" != - ]; then
    printf 'flannel-iface: "%s"\n' "$(interface_of "$1")"
  fi
}

fingerprint() { # version; stdin: the configuration
  printf '%s %s\n' "$1" "$(sha256sum | cut -d' ' -f1)"
}

version() {
  k3s --version 2>/dev/null | awk '/^k3s version / { print $3 }'
}

is_member() { # role
  if [ "$1" = server ]; then [ -d "$data/server/db/etcd/member/wal" ]; else [ -f "$data/agent/client-kubelet.crt" ]; fi
}

is_active() { # role
  systemctl is-active --quiet "$(service "$1").service"
}

# Prints what going from one version to another is: same, upgrade, downgrade, skip or unknown.
step() { # from, to
  awk -v from="$1" -v to="$2" 'BEGIN {
    form = "^v[0-9]+[.][0-9]+[.][0-9]+[+]k3s[0-9]+$"
    if (from !~ form || to !~ form) { print "unknown"; exit }
    sub(/^v/, "", from); sub(/[+]k3s/, ".", from); split(from, a, ".")
    sub(/^v/, "", to); sub(/[+]k3s/, ".", to); split(to, b, ".")
    for (i = 1; i <= 4; i++) {
      if (a[i] + 0 > b[i] + 0) { print "downgrade"; exit }
      if (a[i] + 0 < b[i] + 0) { print (i == 1 || i == 2 && b[2] - a[2] > 1) ? "skip" : "upgrade"; exit }
    }
    print "same"
  }'
}

taken() { # port
  hex=$(printf '%04X' "$1")
  awk -v port=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == port { found = 1 } END { exit !found }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

problem() { # words
  printf 'problem=%s\n' "$1"
}

# Looks, and changes nothing. stdin: the wanted configuration. Prints key=value lines, a `problem` for each finding.
probe() { # role, wanted version, internal address or -
  role=$1 wanted_version=$2 internal=$3
  echo probed=yes
  echo "time=$(date +%s)"
  if [ "$internal" != - ] && [ -z "$(interface_of "$internal")" ]; then
    problem "no interface has the internal_address $internal; give one of: $(ip -o -4 addr show | awk '{ sub("/.*", "", $4); print $4 }' | paste -s -d' ' -)"
  fi
  found=$(wanted "$internal" | fingerprint "$wanted_version")

  [ "$(uname -s)" = Linux ] || problem "runs $(uname -s); K3s needs Linux"
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) problem "is a $(uname -m) machine; give one that is x86_64 or aarch64" ;;
  esac
  [ -d /run/systemd/system ] || problem "was not started by systemd; give a machine that is"
  for program in flock sha256sum base64 awk; do
    command -v "$program" >/dev/null || problem "has no $program; install it"
  done
  command -v curl >/dev/null || command -v wget >/dev/null || problem "has neither curl nor wget; install curl"

  have=$(version)
  echo "version=$have"
  if [ -e "$config" ] && ! head -n 1 "$config" | grep -q '^# Written by Strata'; then
    foreign=yes
  elif [ ! -e "$config" ] && { [ -d "$data/server" ] || [ -d "$data/agent" ]; }; then
    foreign=yes
  else
    foreign=no
  fi
  if [ "$foreign" = yes ]; then
    problem "has a K3s that Strata did not install, perhaps without encrypted Secrets; remove it (k3s-uninstall.sh, and its data is gone), or leave k3s_servers empty and use its kubeconfig"
  elif [ "$role" = agent ] && [ -e /etc/systemd/system/k3s.service ]; then
    problem "is a server, and listed as an agent; drain it, delete it and run k3s-uninstall.sh on it first"
  elif [ "$role" = server ] && [ -e /etc/systemd/system/k3s-agent.service ]; then
    problem "is an agent, and listed as a server; drain it, delete it and run k3s-agent-uninstall.sh on it first"
  elif is_member "$role"; then
    echo state=member
    case $(step "$have" "$wanted_version") in
      same | upgrade) ;;
      downgrade) problem "runs $have, and K3s does not go back to $wanted_version; set k3s in versions.toml to $have or newer" ;;
      skip) problem "runs $have, and K3s does not skip a minor version on its way to $wanted_version; go through each in between" ;;
      *) problem "runs the version '$have', which cannot be compared with $wanted_version; look at k3s --version" ;;
    esac
  else
    echo state=fresh
    ports="10250"
    [ "$role" = agent ] || ports="6443 2379 2380 10250"
    for port in $ports; do
      # K3s itself may hold them, if an earlier run ended before it became a member.
      ! taken "$port" || is_active "$role" || problem "has another program on port $port; stop it (ss -ltnp)"
    done
  fi

  unit=/etc/systemd/system/$(service "$role").service
  if [ -e "$unit" ] && [ "$have" = "$wanted_version" ]; then echo installed=yes; else echo installed=no; fi
  if is_active "$role"; then echo active=yes; else echo active=no; fi
  if [ -e "$converged" ] && [ "$(cat "$converged")" = "$found" ] &&
    [ "$(fingerprint "$wanted_version" <"$config")" = "$found" ]; then
    echo converged=yes
  else
    echo converged=no
  fi
  if [ -e /etc/rancher/node/password ]; then echo registered=yes; else echo registered=no; fi
  authority=$data/server/tls/server-ca.crt
  [ "$role" = server ] || authority=$data/agent/server-ca.crt
  [ ! -e "$authority" ] || echo "authority=$(base64 <"$authority" | tr -d '\n')"
  [ ! -e "$etc/k3s.yaml" ] || echo "kubeconfig=$(sed -n 's/^ *certificate-authority-data: *//p' "$etc/k3s.yaml")"
}

# Writes the configuration that stdin begins. What was seen ready is no longer what is there.
configure() { # internal address or -, how a fresh server comes in: init, an address of a server, or - for who is in
  lock
  rm -f "$converged"
  mkdir -p "$etc/config.yaml.d"
  wanted "$1" >"$config.new"
  mv "$config.new" "$config"
  case $2 in
    -) ;;
    init) echo 'cluster-init: true' >"$entry" ;;
    *) printf 'server: "https://%s:6443"\ntoken-file: "%s"\n' "$2" "$token" >"$entry" ;;
  esac
}

# Prints the token by which nodes join.
give_token() {
  cat "$data/server/token"
}

# Keeps the token that stdin holds.
take_token() {
  lock
  mkdir -p "$etc"
  cat >"$token.new"
  # The long form carries the authority's hash: a node that has it cannot be lured to another server.
  grep -Eq '^K10[0-9a-f]{64}::[^[:space:]]+$' "$token.new" || {
    rm -f "$token.new"
    fail "what came is no token of a server; look at $data/server/token on the first server"
  }
  mv "$token.new" "$token"
}

# Installs a version of K3s; does not start it.
install() { # role, version, the installer's address, its SHA-256 or -
  lock
  script=$(mktemp)
  trap 'rm -f "$script"' EXIT
  if command -v curl >/dev/null; then
    curl --fail --silent --show-error --location --proto =https --output "$script" "$3" || fail "cannot fetch $3"
  else
    wget --quiet --output-document="$script" "$3" || fail "cannot fetch $3"
  fi
  if [ "$4" != - ]; then
    found=$(sha256sum <"$script" | cut -d' ' -f1)
    [ "$found" = "$4" ] || fail "the installer from $3 has the SHA-256 $found, not k3s.installer_sha256; look what has changed"
  fi
  INSTALL_K3S_VERSION=$2 INSTALL_K3S_EXEC=$1 INSTALL_K3S_SKIP_START=true sh "$script" >&2
}

# Starts K3s, or starts it anew, and waits for nothing: a server of several waits for the others.
restart() { # role
  lock
  systemctl restart --no-block "$(service "$1").service"
}

# Waits until this server's API answers.
answer() { # seconds
  deadline=$(($(date +%s) + $1))
  until k3s kubectl get --raw=/readyz >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || fail "its API does not answer after $1 seconds; look at: journalctl -u k3s"
    sleep 1
  done
}

# Waits until this server's API answers and says that a node is ready, with a version or with any (-).
ready() { # name, version or -, seconds
  deadline=$(($(date +%s) + $3))
  while :; do
    state=$(k3s kubectl get node "$1" --output='jsonpath={.status.nodeInfo.kubeletVersion} {.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) || state=
    if [ "${state##* }" = True ] && { [ "$2" = - ] || [ "${state% *}" = "$2" ]; } &&
      k3s kubectl get --raw=/readyz >/dev/null 2>&1; then
      return
    fi
    [ "$(date +%s)" -lt "$deadline" ] || fail "$1 is not ready after $3 seconds; look at: journalctl -u k3s -u k3s-agent"
    sleep 1
  done
}

# Notes that the node was seen ready as it is now.
note() { # version
  fingerprint "$1" <"$config" >"$converged"
}

# Prints the cluster's nodes: name, whether Strata installed it, whether it is a server.
nodes() {
  k3s kubectl get nodes --output='jsonpath={range .items[*]}{.metadata.name} managed={.metadata.labels.strata/managed} server={.metadata.labels.node-role\.kubernetes\.io/control-plane}{"\n"}{end}'
}

# Saves a snapshot of etcd.
snapshot() { # name
  k3s etcd-snapshot save --name "$1" >&2
}

# Prints the administrator's kubeconfig.
kubeconfig() {
  cat "$etc/k3s.yaml"
}

"$@"
