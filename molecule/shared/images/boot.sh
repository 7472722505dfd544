#!/usr/bin/env bash
# Start one simulated host, once: an existing one is only started, never made anew (it may hold somebody's work).
#   boot.sh NETWORK NAME ADDRESS IMAGE LABEL          prints `kept`, `started` or `made`
set -euo pipefail

network=${1:?network} name=${2:?name} address=${3:?address} image=${4:?image} label=${5:?label}
container=$network-$name

case $(docker container inspect --format '{{.State.Running}}' "$container" 2>/dev/null || true) in
  true) echo kept; exit ;;
  false) docker start "$container" >/dev/null; echo started; exit ;;
esac

docker volume create --label "$label" "$container-docker" >/dev/null
options=(
  --detach --name "$container" --hostname "$name" --label "$label" --network "$network" --ip "$address"
  # --privileged is not to be had everywhere. These are what systemd and a nested engine need; the image's
  # sandbox-init does the rest.
  --cap-add=ALL --cap-drop=SYS_RESOURCE
  --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined
  --cgroupns=private --tmpfs /run --tmpfs /tmp
  # With `ipc: host` vLLM sees this /dev/shm, and Docker's 64 MiB are too little for it.
  --shm-size=2g
  # overlay2 of the nested engine does not work on an overlay.
  --volume "$container-docker:/var/lib/docker"
)
docker run "${options[@]}" "$image" >/dev/null
echo made
