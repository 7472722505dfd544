#!/usr/bin/env bash
# Wake what is frozen in a container of the sandbox: no signal reaches it, so Docker could not end the container.
#   thaw.sh CONTAINER [CGROUPS]          prints the control groups that were frozen
# A nested engine freezes below the container, where the engine of this machine does not look. The way through the
# container is for a user who may not write to this machine's control groups, the other one for a container whose first
# process is gone.
set -euo pipefail

container=${1:?container} cgroups=${2:-/sys/fs/cgroup}
id=$(docker container inspect --format '{{.Id}}' "$container" 2>/dev/null) || exit 0

# freezer.state is of control groups v1, cgroup.freeze of v2
# shellcheck disable=SC2016 # for the other shell
thaw='find "$@" \( -name freezer.state -o -name cgroup.freeze \) 2>/dev/null | while read -r file; do
  case $file:$(cat "$file" 2>/dev/null) in
    *freezer.state:FR*) state=THAWED ;;
    *cgroup.freeze:1) state=0 ;;
    *) continue ;;
  esac
  if echo $state 2>/dev/null >"$file"; then echo "${file%/*}"; fi
done'

docker unpause "$container" >/dev/null 2>&1 || true
docker exec "$container" sh -c "$thaw" sh /sys/fs/cgroup 2>/dev/null || true
mapfile -t folders < <(find "$cgroups" -type d \( -name "$id" -o -name "docker-$id.scope" \) 2>/dev/null)
[[ ${#folders[@]} -eq 0 ]] || sh -c "$thaw" sh "${folders[@]}"
