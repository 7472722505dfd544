#!/usr/bin/env bash
# The first process of the simulated host, in namespaces of its own: mounts what systemd expects, and becomes systemd.
#   init.sh ROOT        (started by host.sh)
set -euo pipefail

root=$1
driver=/usr/local/nvidia
hostname spark01
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
mkdir "$root"/dev/{pts,shm,mqueue}
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o size=32g tmpfs "$root/dev/shm"
mount -t mqueue mqueue "$root/dev/mqueue"
for node in null zero full random urandom tty kmsg; do cp -a "/dev/$node" "$root/dev/"; done
for node in /dev/nvidia*; do [ ! -c "$node" ] || cp -a "$node" "$root/dev/"; done
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0 1 2; do ln -s "/proc/self/fd/$number" "$root/dev/$(sed -n "$((number + 1))p" <<<$'stdin\nstdout\nstderr')"; done
touch "$root/dev/console"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
if [ -d "$driver/lib64" ]; then
  mount --bind -o ro "$driver" "$root$driver"
  chroot "$root" ldconfig
fi
# On a Spark the GPU's memory is the host's. meminfo.py keeps this file as it would be here.
[ ! -e "$root.meminfo" ] || mount --bind "$root.meminfo" "$root/proc/meminfo"

cd "$root"
pivot_root . old
exec env -i container=docker PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  chroot . sh -c 'umount -l /old; exec /lib/systemd/systemd SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1'
