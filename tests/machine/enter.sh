#!/bin/sh
# What sshd runs for every sign-in to a machine of the tests: the command that was asked for, as root of a folder that
# has an /etc, /var, /run and /usr/local of its own, and in a network of its own. Nothing of the real machine is changed.
# Usage: enter.sh <folder of the machine>
set -eu
PATH=$PATH:/usr/sbin:/sbin
machine=$1
if [ "${2-}" != inside ]; then
  exec unshare --map-root-user --mount --net -- "$0" "$machine" inside
fi
root=$machine/root
for folder in usr bin sbin lib lib64 proc dev; do
  if [ -d "$root/$folder" ] && [ ! -L "$root/$folder" ]; then mount --rbind "/$folder" "$root/$folder"; fi
done
mount --bind "$machine/local" "$root/usr/local"
mount --bind "${machine%/*/*}/cluster" "$root/cluster"
if [ -e "$machine/listener" ]; then
  python3 -c 'import socket, sys, time
taken = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print(flush=True)
time.sleep(5)' "$(cat "$machine/listener")" >"$machine/listening" 2>&1 &
  while [ ! -s "$machine/listening" ]; do sleep 0.05; done
fi
# shellcheck disable=SC2016 # the shell within expands it
exec chroot "$root" /bin/sh -c 'cd / && exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
