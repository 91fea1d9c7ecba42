#!/usr/bin/env bash
# Brings every node of a K3s cluster to what the settings say, over SSH: from a laptop, by Terraform (terraform_data.k3s_nodes).
# Everything is looked at before anything is changed; what is as wanted is left alone; a second run finishes what a
# first one began. It needs bash 3.2 and ssh here; on the nodes, what node.sh looks for.
#
# In the environment:
#   STRATA_SERVERS, STRATA_AGENTS  a line for each node: name, host, user, port, internal and external address or "-"
#   STRATA_VERSION                 the exact version of K3s
#   STRATA_INSTALLER               the installer's address, a space, and its SHA-256 or "-"
#   STRATA_API_ADDRESS             where the kubeconfig finds the API server; empty: at the first server
#   STRATA_TLS_SANS                more names of the API server, separated by spaces
#   STRATA_SNAPSHOT_SCHEDULE, STRATA_SNAPSHOT_RETENTION, STRATA_SNAPSHOT_S3_SECRET
#   STRATA_API_SERVER_ARGUMENTS    a line for each argument that kube-apiserver gets, without its dashes; may be empty
#   STRATA_READY_TIMEOUT           seconds that a node may take to become ready
#   STRATA_SSH_KEY, STRATA_SSH_KNOWN_HOSTS   paths; empty: what ssh itself finds
#   STRATA_KUBECONFIG              where the kubeconfig is kept
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Short enough for a socket, wherever TMPDIR is.
work=$(mktemp -d /tmp/strata-k3s.XXXXXX)
new_kubeconfig=
close() {
  local socket
  for socket in "$work"/*.ssh; do
    [ ! -S "$socket" ] || ssh -o ControlPath="$socket" -O exit unused 2>/dev/null || true
  done
  rm -rf "$work" ${new_kubeconfig:+"$new_kubeconfig"}
}
trap close EXIT

say() {
  printf '%s\n' "$1"
}

die() {
  printf '%s\n' "$1" >&2
  exit 1
}

findings=()
is_touched=no
find_fault() {
  findings+=("$1")
}

refuse_if_faulty() {
  [ ${#findings[@]} -gt 0 ] || return 0
  printf '%s\n' "${findings[@]}" >&2
  [ "$is_touched" = yes ] || say "Nothing was changed." >&2
  exit 1
}

# --- what is wanted ---

names=() hosts=() users=() ports=() internals=() externals=() roles=()
line_form='^[a-z0-9][a-z0-9-]* [a-z0-9][a-z0-9.-]* [a-z_][a-z0-9_-]* [0-9]+ ([0-9.]+|-) ([0-9.]+|-)$'

list() { # role, lines
  local line name host user port internal external
  while IFS= read -r line; do
    [ -n "$line" ] || continue
    # Terraform has checked it; nothing else may ever reach ssh's command line.
    [[ $line =~ $line_form ]] || die "not a node: $line"
    read -r name host user port internal external <<<"$line"
    names+=("$name") hosts+=("$host") users+=("$user") ports+=("$port")
    internals+=("$internal") externals+=("$external") roles+=("$1")
  done <<<"$2"
}
list server "$STRATA_SERVERS"
list agent "$STRATA_AGENTS"
[ ${#names[@]} -gt 0 ] && [ "${roles[0]}" = server ] || die "there is no server in k3s_servers; give one"
read -r installer installer_sha256 <<<"$STRATA_INSTALLER"
count=${#names[@]}

address_within() { # node: where other nodes reach it
  if [ "${internals[$1]}" != - ]; then echo "${internals[$1]}"; else echo "${hosts[$1]}"; fi
}

address_outside() { # node: where people reach it
  if [ "${externals[$1]}" != - ]; then echo "${externals[$1]}"; else echo "${hosts[$1]}"; fi
}

api_address=${STRATA_API_ADDRESS:-$(address_outside 0)}

subject_names() {
  local i
  {
    for ((i = 0; i < count; i++)); do
      [ "${roles[i]}" = server ] || continue
      printf '%s\n' "${hosts[i]}" "$(address_within "$i")" "$(address_outside "$i")"
    done
    printf '%s\n' "$api_address" "$STRATA_TLS_SANS" | tr ' ' '\n'
  } | grep . | LC_ALL=C sort -u
}

# Prints a node's configuration; it does not depend on the order of the servers, nor on who was there first.
config_of() { # node
  local i=$1 name argument
  echo '# Written by Strata from envs/infra.tfvars: a change by hand is overwritten.'
  printf 'node-name: "%s"\n' "${names[i]}"
  printf 'node-label:\n  - "strata/managed=true"\n'
  [ "${internals[i]}" = - ] || printf 'node-ip: "%s"\n' "${internals[i]}"
  [ "${externals[i]}" = - ] || printf 'node-external-ip: "%s"\n' "${externals[i]}"
  if [ "${roles[i]}" = agent ]; then
    printf 'server: "https://%s:6443"\n' "$(address_within 0)"
    printf 'token-file: "/etc/rancher/k3s/token"\n'
    return
  fi
  printf 'secrets-encryption: true\n'
  printf 'write-kubeconfig-mode: "0600"\n'
  # K3s would rather tell nodes and pods the external address, which a NAT may not lead back.
  [ "${internals[i]}" = - ] || printf 'advertise-address: "%s"\n' "${internals[i]}"
  printf 'tls-san:\n'
  while IFS= read -r name; do printf '  - "%s"\n' "$name"; done <<<"$(subject_names)"
  printf 'etcd-snapshot-schedule-cron: "%s"\n' "$STRATA_SNAPSHOT_SCHEDULE"
  printf 'etcd-snapshot-retention: %s\n' "$STRATA_SNAPSHOT_RETENTION"
  if [ -n "$STRATA_SNAPSHOT_S3_SECRET" ]; then
    printf 'etcd-s3: true\netcd-s3-config-secret: "%s"\n' "$STRATA_SNAPSHOT_S3_SECRET"
  fi
  if [ -n "$STRATA_API_SERVER_ARGUMENTS" ]; then
    printf 'kube-apiserver-arg:\n'
    while IFS= read -r argument; do printf '  - "%s"\n' "$argument"; done <<<"$STRATA_API_SERVER_ARGUMENTS"
  fi
}

# --- SSH ---

quoted() {
  case $1 in
    *"'"*) printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")" ;;
    *) printf "'%s'" "$1" ;;
  esac
}

# shellcheck disable=SC2016 # the node's shell expands it
as_root='as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }; as_root sh -c'
script=$(quoted "$(cat "$here/node.sh")")
options=(
  -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -o ServerAliveCountMax=4
  -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o ForwardAgent=no -o ForwardX11=no -o LogLevel=ERROR
  -o ControlMaster=auto -o ControlPersist=60
)
home_path() {
  if [ "${1:0:1}" = '~' ]; then printf '%s' "$HOME${1:1}"; else printf '%s' "$1"; fi
}
if [ -n "$STRATA_SSH_KEY" ]; then
  options+=(-i "$(home_path "$STRATA_SSH_KEY")" -o IdentitiesOnly=yes)
fi
if [ -n "$STRATA_SSH_KNOWN_HOSTS" ]; then
  options+=(-o UserKnownHostsFile="\"$(home_path "$STRATA_SSH_KNOWN_HOSTS")\"" -o GlobalKnownHostsFile=/dev/null)
fi

# Runs a function of node.sh on a node; stdin goes along.
on() { # node, function, arguments...
  local i=$1 command="$as_root $script node" argument
  shift
  for argument in "$@"; do command+=" $(quoted "$argument")"; done
  ssh "${options[@]}" -o ControlPath="$work/$i.ssh" -p "${ports[i]}" -l "${users[i]}" -- "${hosts[i]}" "$command"
}

# The same for what must succeed; the node's own words are on stderr.
must() { # node, function, arguments...
  on "$@" || die "${names[$1]} (${hosts[$1]}): $2 failed, the reason is above; run this again once it is mended"
}

# --- what is there ---

fact() { # node, key
  local line
  while IFS= read -r line; do
    [ "${line%%=*}" != "$2" ] || printf '%s\n' "${line#*=}"
  done <"$work/$1.facts"
}

probe_all() {
  local i
  for ((i = 0; i < count; i++)); do
    {
      status=0
      config_of "$i" | on "$i" probe "${roles[i]}" "$STRATA_VERSION" "${internals[i]}" \
        >"$work/$i.facts" 2>"$work/$i.errors" || status=$?
      echo "status=$status" >>"$work/$i.facts"
      echo "now=$(date +%s)" >>"$work/$i.facts"
    } &
  done
  wait
}

fault_of_connection() { # node: why ssh did not come to the end of the probe
  local i=$1 errors last
  errors=$(cat "$work/$i.errors")
  last=$(tr -d '\r' <"$work/$i.errors" | grep . | tail -n 1 || true)
  case $errors in
    *"IDENTIFICATION HAS CHANGED"*)
      echo "its host key is not the one that known_hosts has; if the machine is a new one, ssh-keygen -R '[${hosts[i]}]:${ports[i]}', else somebody is in between" ;;
    *"host key is known"* | *"Host key verification failed"*)
      echo "its host key is not known; ssh-keyscan -p ${ports[i]} ${hosts[i]}, compare it with what the machine's provider shows, and add it to known_hosts" ;;
    *"Permission denied ("*)
      echo "no key is accepted for ${users[i]}; add yours to its authorized_keys (ssh-copy-id), load it into the agent or give k3s.ssh_key" ;;
    *sudo*)
      echo "${users[i]} may not become root without a password; add '${users[i]} ALL=(ALL) NOPASSWD: ALL' with visudo, or give user = \"root\"" ;;
    *)
      echo "cannot be reached by ssh: ${last:-no answer}; look whether ssh -p ${ports[i]} ${users[i]}@${hosts[i]} works" ;;
  esac
}

find_faults() {
  local i line skew
  for ((i = 1; i < count; i++)); do
    if { [ "${internals[i]}" = - ] && [ "${internals[0]}" != - ]; } ||
      { [ "${internals[i]}" != - ] && [ "${internals[0]}" = - ]; }; then
      find_fault "${names[i]} (${hosts[i]}): ${names[0]} and it are not in one network; give internal_address to all nodes or to none"
    fi
  done
  for ((i = 0; i < count; i++)); do
    if [ "$(fact "$i" status)" != 0 ] || [ "$(fact "$i" probed)" != yes ]; then
      find_fault "${names[i]} (${hosts[i]}): $(fault_of_connection "$i")"
      continue
    fi
    while IFS= read -r line; do
      [ -z "$line" ] || find_fault "${names[i]} (${hosts[i]}): $line"
    done <<<"$(fact "$i" problem)"
    skew=$(($(fact "$i" now) - $(fact "$i" time)))
    if [ "${skew#-}" -gt 60 ]; then
      find_fault "${names[i]} (${hosts[i]}): its clock is ${skew#-} seconds off; timedatectl set-ntp true"
    fi
  done
}

is_member() {
  [ "$(fact "$1" state)" = member ]
}

is_server() {
  [ "${roles[$1]}" = server ]
}

is_active() {
  [ "$(fact "$1" active)" = yes ]
}

is_converged() {
  [ "$(fact "$1" converged)" = yes ] && [ "$(fact "$1" installed)" = yes ] && is_active "$1"
}

# The server that is asked about the cluster: one that runs, else one that did; empty where there is no cluster yet.
seed=
choose_seed() {
  local i
  for ((i = 0; i < count; i++)); do
    if is_server "$i" && is_member "$i"; then
      if is_active "$i"; then
        seed=$i
        return
      fi
      [ -n "$seed" ] || seed=$i
    fi
  done
}

find_strangers() {
  local i authority=
  [ -z "$seed" ] || authority=$(fact "$seed" authority)
  for ((i = 0; i < count; i++)); do
    is_member "$i" || continue
    if [ -z "$seed" ]; then
      find_fault "${names[i]} (${hosts[i]}): is an agent of a cluster of which k3s_servers has no server; run k3s-agent-uninstall.sh on it, or list its servers"
    elif [ "$(fact "$i" authority)" != "$authority" ]; then
      find_fault "${names[i]} (${hosts[i]}): belongs to another cluster than ${names[seed]}; take it out of the list, or uninstall its K3s"
    fi
  done
}

find_foreign_kubeconfig() {
  local found wanted=
  [ -e "$STRATA_KUBECONFIG" ] || return 0
  [ -z "$seed" ] || wanted=$(fact "$seed" kubeconfig)
  found=$(sed -n 's/^ *certificate-authority-data: *//p' "$STRATA_KUBECONFIG")
  if [ -z "$wanted" ] || [ "$found" != "$wanted" ]; then
    find_fault "$STRATA_KUBECONFIG: is there already, and not of this cluster; give another path as KUBECONFIG, or move the file away"
  fi
}

# What the cluster has and the lists have not, and the other way round.
find_left_out() {
  local cluster name managed server i is_listed uninstall
  cluster=$(must "$seed" nodes </dev/null)
  while read -r name managed server; do
    [ -n "$name" ] || continue
    is_listed=no
    for ((i = 0; i < count; i++)); do
      [ "${names[i]}" = "$name" ] || continue
      is_listed=yes
      if ! is_member "$i" && [ "$(fact "$i" registered)" = no ]; then
        find_fault "$name (${hosts[i]}): the cluster has a node $name, and it is not this machine; if this one replaces it: kubectl --kubeconfig=$STRATA_KUBECONFIG delete node $name"
      fi
    done
    if [ "$is_listed" = no ] && [ "$managed" = managed=true ]; then
      uninstall=k3s-agent-uninstall.sh
      [ "$server" = server= ] || uninstall=k3s-uninstall.sh
      find_fault "$name: is in the cluster, and neither in k3s_servers nor in k3s_agents; put it back, or remove it (volumes on its disk are lost):
  kubectl --kubeconfig=$STRATA_KUBECONFIG drain $name --ignore-daemonsets --delete-emptydir-data
  kubectl --kubeconfig=$STRATA_KUBECONFIG delete node $name
  ssh <$name> sudo $uninstall"
    fi
  done <<<"$cluster"
}

# --- changes ---

changed=()

converge() { # node, how a fresh server comes in, or -
  local i=$1
  is_touched=yes
  config_of "$i" | must "$i" configure "${internals[i]}" "$2"
  if [ "$(fact "$i" installed)" != yes ]; then
    say "${names[i]}: installing $STRATA_VERSION"
    must "$i" install "${roles[i]}" "$STRATA_VERSION" "$installer" "$installer_sha256" </dev/null
  fi
  say "${names[i]}: starting"
  must "$i" restart "${roles[i]}" </dev/null
}

settle() { # node
  local i=$1 witness=$seed
  # A server speaks for itself: so its own API was seen as well.
  if is_server "$i"; then witness=$i; fi
  must "$witness" ready "${names[i]}" "$STRATA_VERSION" "$STRATA_READY_TIMEOUT" </dev/null
  must "$i" note "$STRATA_VERSION" </dev/null
  changed+=("${names[i]}")
  say "${names[i]}: ready, $STRATA_VERSION"
}

hand_token() { # node
  must "$seed" give_token </dev/null | must "$1" take_token
}

save_snapshot_before_upgrade() {
  local i name
  for ((i = 0; i < count; i++)); do
    if is_member "$i" && is_server "$i" && [ "$(fact "$i" version)" != "$STRATA_VERSION" ]; then
      name=before-${STRATA_VERSION//+/-}
      say "${names[seed]}: saving the snapshot $name"
      must "$seed" snapshot "$name" </dev/null
      return
    fi
  done
}

# Servers that are down come first: they cannot get worse, and a quorum may need them.
converge_stopped_servers() {
  local i
  for ((i = 0; i < count; i++)); do
    if is_server "$i" && is_member "$i" && ! is_active "$i"; then
      say "${names[i]}: is down"
      converge "$i" -
    fi
  done
}

converge_running_servers() {
  local i is_pending=no
  for ((i = 0; i < count; i++)); do
    if is_server "$i" && is_member "$i"; then
      is_converged "$i" || is_pending=yes
      is_active "$i" || settle "$i"
    fi
  done
  [ "$is_pending" = yes ] || return 0
  # One server goes down at a time, and only while all others are up.
  for ((i = 0; i < count; i++)); do
    if is_server "$i" && is_member "$i"; then
      must "$seed" ready "${names[i]}" - "$STRATA_READY_TIMEOUT" </dev/null
    fi
  done
  save_snapshot_before_upgrade
  for ((i = 0; i < count; i++)); do
    if is_server "$i" && is_member "$i" && is_active "$i" && ! is_converged "$i"; then
      converge "$i" -
      settle "$i"
    fi
  done
}

add_servers() {
  local i
  for ((i = 0; i < count; i++)); do
    if is_server "$i" && ! is_member "$i"; then
      if [ -z "$seed" ]; then
        converge "$i" init
        seed=$i
      else
        hand_token "$i"
        converge "$i" "$(address_within "$seed")"
      fi
      settle "$i"
    fi
  done
}

converge_agents() {
  local i
  for ((i = 0; i < count; i++)); do
    if ! is_server "$i" && ! is_converged "$i"; then
      hand_token "$i"
      converge "$i" -
      settle "$i"
    fi
  done
}

keep_kubeconfig() {
  local folder
  folder=$(dirname "$STRATA_KUBECONFIG")
  mkdir -p "$folder"
  new_kubeconfig=$(mktemp "$folder/.kubeconfig.XXXXXX")
  must "$seed" kubeconfig </dev/null | sed "s|https://127.0.0.1:6443|https://$api_address:6443|" >"$new_kubeconfig"
  grep -q "server: https://$api_address:6443" "$new_kubeconfig" || die "${names[seed]}: its kubeconfig names no server"
  if [ -e "$STRATA_KUBECONFIG" ] && cmp -s "$new_kubeconfig" "$STRATA_KUBECONFIG"; then
    chmod 600 "$STRATA_KUBECONFIG"
    return
  fi
  mv "$new_kubeconfig" "$STRATA_KUBECONFIG"
  new_kubeconfig=
  say "kubeconfig: $STRATA_KUBECONFIG, for https://$api_address:6443"
}

probe_all
find_faults
choose_seed
find_strangers
find_foreign_kubeconfig
refuse_if_faulty

if [ -n "$seed" ]; then
  # Where no server runs, none can be asked which nodes there are: they are started first.
  is_active "$seed" || converge_stopped_servers
  must "$seed" answer "$STRATA_READY_TIMEOUT" </dev/null
  find_left_out
  refuse_if_faulty
  ! is_active "$seed" || converge_stopped_servers
  converge_running_servers
fi
add_servers
keep_kubeconfig
converge_agents
say "K3s: $count nodes as wanted, ${#changed[@]} changed"
