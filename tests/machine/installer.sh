#!/bin/sh
# Stands in for https://get.k3s.io: installs the stand-in K3s, and writes down what it was asked for.
set -eu
name=$(cat /etc/hostname)
echo "$name install $INSTALL_K3S_VERSION as $INSTALL_K3S_EXEC, skip_start=$INSTALL_K3S_SKIP_START, channel=${INSTALL_K3S_CHANNEL-none}" >>/cluster/log
env >>/cluster/environments
cp /usr/local/lib/k3s /usr/local/bin/k3s
echo "$INSTALL_K3S_VERSION" >/usr/local/lib/version
if [ -e /cluster/hang ]; then
  echo "$name hangs" >>/cluster/log
  while [ -e /cluster/hang ]; do sleep 0.05; done
fi
mkdir -p /etc/systemd/system
case $INSTALL_K3S_EXEC in
  server) touch /etc/systemd/system/k3s.service ;;
  agent) touch /etc/systemd/system/k3s-agent.service ;;
  *) exit 1 ;;
esac
