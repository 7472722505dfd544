#!/usr/bin/env bash
# On the GPU machine: boot the host image as a simulated Spark, without Docker: namespaces, control groups v2, systemd.
#   host.sh ROOT ADDRESS KEY.pub        ROOT: the unpacked host image; ADDRESS: of the host, in a /24; KEY.pub: who may log in
# The machine gets the first address of that network and .2 and .3 for hub and registry. Prints the pid of the host's systemd.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(realpath "$1") address=$2 key=$3
network=${address%.*}
driver=/usr/local/nvidia

mkdir -p "$root"/{proc,sys,dev,run,tmp,old} "$root$driver"
printf '127.0.0.1 localhost\n%s spark01\n' "$address" >"$root/etc/hosts"
echo "nameserver $network.1" >"$root/etc/resolv.conf"
echo spark01 >"$root/etc/hostname"
install -m 0600 -o 1000 -g 1000 "$key" "$root/home/dgx/.ssh/authorized_keys"

# An H200 is no Spark, and the host does not say so.
rm -f "$root/etc/dgx-release"
# The driver of the machine instead of the one that pretends, and a CDI specification written for where its files are.
if [ -e "$driver/bin/nvidia-smi" ]; then
  ln -sf "$driver/bin/nvidia-smi" "$root/usr/bin/nvidia-smi"
  echo "$driver/lib64" >"$root/etc/ld.so.conf.d/nvidia.conf"
  install -m 0644 "$here/cdi.yaml" "$root/usr/share/nvidia-cdi.yaml"
  sed -i 's|^    spec = SPEC .*|    spec = Path("/usr/share/nvidia-cdi.yaml").read_text(encoding="utf-8")|' "$root/usr/bin/nvidia-ctk"
  grep -q /usr/share/nvidia-cdi.yaml "$root/usr/bin/nvidia-ctk"
fi

# A control group of its own: the new namespace begins there.
groups=/sys/fs/cgroup
mkdir -p "$groups/spark"
(
  echo "$BASHPID" >"$groups/spark/cgroup.procs"
  exec setsid unshare --cgroup --mount --pid --uts --ipc --net --fork --propagation private \
    "$here/init.sh" "$root" </dev/null >"$root.console" 2>&1
) &
outer=$!
pid=
for _try in $(seq 50); do
  pid=$({ cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v parent="$outer" '$4 == parent { print $1; exit }')
  [ -z "$pid" ] || break
  sleep 0.1
done
# Systemd can hand out controllers only if no other process is in the group with it.
echo "$outer" >"$groups/cgroup.procs"

# The program `ip` is the image's: the machine has none. It finds the namespace of the host by a name.
mkdir -p "$root/run/netns"
touch "$root/run/netns/spark"
mount --bind "/proc/$pid/ns/net" "$root/run/netns/spark"
ip() { chroot "$root" ip "$@"; }
inside() { nsenter --net="/proc/$pid/ns/net" chroot "$root" ip "$@"; }
ip link add spark0 type veth peer name eth0-spark
ip link set eth0-spark netns spark
for last in 1 2 3; do ip address add "$network.$last/24" dev spark0; done
ip link set spark0 up
inside link set lo up
inside link set eth0-spark name eth0
inside address add "$address/24" dev eth0
inside link set eth0 up
inside route add default via "$network.1"
echo "$pid"
