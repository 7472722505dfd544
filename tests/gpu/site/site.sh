#!/usr/bin/env bash
# On the GPU machine: the collection itself on a simulated Spark with the machine's GPU.
#   site.sh up          host, driver, hub with a model of real size, registry with an image of real vLLM
#   site.sh play OUT    site.yml twice, explain, monitoring, benchmark, a broken release, a second one and back, a frozen engine
#   site.sh turns OUT   after that: two services that take turns
# Before: the host image unpacked in $ROOT, vLLM in /root/vl, ansible-core and collections in $KIT, this repository in $COLLECTION.
# If the first run of site.yml fails, the others are not tried. What a run did is in OUT, and in one line here.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=${ROOT:-/root/spark} KIT=${KIT:-/root/kit} COLLECTION=${COLLECTION:-$PWD} WORK=${WORK:-/root/site}
NETWORK=${NETWORK:-172.30.111} MODELS=${MODELS:-$WORK/models}
REGISTRY=$NETWORK.3:5000
shared=$COLLECTION/molecule/shared
CELLS='[{"name": "c1", "concurrency": 1, "prompts": 4, "input_tokens": 128, "output_tokens": 256},
  {"name": "c64", "concurrency": 64, "prompts": 192, "input_tokens": 128, "output_tokens": 256}]'
image=vllm/vllm-openai:v0.24.0-ubuntu2404
mkdir -p "$WORK"

say() { echo "[$(date +%T)] $*"; }
stays() { setsid "$@" </dev/null >>"$WORK/$(basename "$1").log" 2>&1 & }
until_true() { for _try in $(seq 600); do ! "$@" >/dev/null 2>&1 || return 0; sleep 0.2; done; say "not seen: $*"; return 1; }

# The programs of the host image, on the machine.
program() {
  printf '#!/bin/sh\nexec %s/lib64/ld-linux-x86-64.so.2 --library-path %s/usr/lib/x86_64-linux-gnu %s "$@"\n' "$ROOT" "$ROOT" "$ROOT/usr/bin/$1" >"/usr/bin/$1"
  chmod 0755 "/usr/bin/$1"
}

models() {
  [ -d "$MODELS" ] || python3 "$here/weights.py" "$MODELS"
  stays python3 "$shared/hub/server.py" --port 8080 --models "$MODELS" --rate 0
  until_true curl -sf "http://$NETWORK.2:8080/health"
  say hub up
}

pushed() {
  local parts=$WORK/parts
  mkdir -p "$parts"/{tmp,run,proc,sys,dev,workspace,root,usr/local/bin}
  chmod 1777 "$parts/tmp"
  cat >"$parts/usr/local/bin/vllm" <<'PY'
#!/opt/torch/.venv/bin/python3
import sys

from vllm.entrypoints.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
PY
  chmod 0755 "$parts/usr/local/bin/vllm"
  local tar="tar --create --owner=0 --group=0 --numeric-owner"
  python3 "$shared/images/push.py" --registry "$REGISTRY" --config "$here/image.json" \
    --layer "$tar -C / --exclude=usr/local --exclude='usr/lib/x86_64-linux-gnu/lib*cudnn*' --exclude='usr/lib/x86_64-linux-gnu/libnccl*' \
      --exclude=usr/share/doc --exclude=usr/share/man --exclude=usr/src bin sbin lib lib64 usr etc/ld.so.cache etc/ld.so.conf etc/ld.so.conf.d etc/passwd \
      etc/group etc/nsswitch.conf etc/alternatives etc/ssl opt/gcc" \
    --layer "$tar -C / --exclude='*/site-packages/jax*' --exclude='*/site-packages/cupy*' --exclude='*/site-packages/tensorstore*' \
      --exclude='*/site-packages/onnx*' --exclude='*/site-packages/cmake*' opt/torch" \
    --layer "$tar -C / root/vl" --layer "$tar -C '$parts' ." "$image"
  say image pushed
}

up() {
  [ -n "$(command -v ssh)" ] || for name in ssh ssh-keygen sftp; do program "$name"; done
  [ -e "$WORK/key" ] || ssh-keygen -q -t ed25519 -N "" -f "$WORK/key"
  stays python3 "$here/meminfo.py" "$ROOT.meminfo"
  until_true test -s "$ROOT.meminfo"
  "$here/host.sh" "$ROOT" "$NETWORK.11" "$WORK/key.pub"
  install -D -m 0644 "$shared/images/services/registry.yml" "$ROOT/etc/docker/registry/config.yml"
  stays chroot "$ROOT" docker-registry serve /etc/docker/registry/config.yml
  until_true curl -sf "http://$REGISTRY/v2/"
  say host and registry up
  models &
  local hub=$!
  pushed
  wait "$hub"
}

inventory() {
  mkdir -p "$WORK/inventory"
  cat >"$WORK/inventory/hosts.yml" <<YML
spark:
  hosts: {spark01: {ansible_host: $NETWORK.11}}
  vars:
    ansible_user: dgx
    ansible_python_interpreter: /usr/bin/python3
    ansible_ssh_private_key_file: $WORK/key
    ansible_ssh_common_args: -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=10
    spark_host_allow_other_hardware: true # an H200 is no Spark
    container_runtime_daemon_options: {insecure-registries: ["$REGISTRY"]}
    vllm_image: $image
    vllm_image_registry: $REGISTRY
    vllm_hf_endpoint: http://$NETWORK.2:8080
    vllm_gpu: cdi
    benchmark_repetitions: 1
    benchmark_settle_seconds: 10
    benchmark_cells: $(tr -d '\n' <<<"$CELLS")
    benchmark_folder: $WORK/benchmarks
YML
}

# The same host with two services. The second one has the same model: what counts is that its memory comes free.
two_services() {
  cp "$COLLECTION/inventories/example/services.yml" "$WORK/inventory/"
  cat >>"$WORK/inventory/hosts.yml" <<YML
    vllm_services:
      - {name: vllm, vllm_swap_group: large}
      - {name: vllm-second, vllm_port: 8002, vllm_swap_group: large}
YML
}

play() { # NAME PLAYBOOK [OPTION...]
  local name=$1 begin=$SECONDS code=0
  ansible-playbook -i "$WORK/inventory" "$COLLECTION/$2" "${@:3}" >"$out/$name.txt" 2>&1 || code=$?
  say "$name: exit $code, $((SECONDS - begin)) s, $(grep -h ' changed=' "$out/$name.txt" | tail -1)"
  return "$code"
}

look() { # NAME: what host, driver, container and server say at this moment
  on "cat /opt/vllm/current/compose.yaml; sudo docker ps -a; sudo systemctl status vllm.service --no-pager | head -20" >"$out/$1-host.txt" 2>&1 || true
  on "nvidia-smi; nvidia-smi -q" >"$out/$1-nvidia-smi.txt" 2>&1 || true
  on "curl -s http://127.0.0.1:8000/metrics" >"$out/$1-metrics.txt" 2>&1 || true
  on "curl -s http://127.0.0.1:9100/metrics" >"$out/$1-exporter.txt" 2>&1 || true
  on "curl -s http://127.0.0.1:9090/api/v1/alerts; curl -s 'http://127.0.0.1:9090/api/v1/query?query=up'" >"$out/$1-prometheus.txt" 2>&1 || true
  ansible -i "$WORK/inventory" spark -b -m dgxspark.vllm.spark_info >"$out/$1-spark_info.txt" 2>&1 || true
}

on() { ssh -n -i "$WORK/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "dgx@$NETWORK.11" "$@"; }
root() { on "sudo sh -euc $(printf %q "$1")"; }
answers() { # a token within so many seconds
  on "curl --fail --silent --max-time $1 --output /dev/null --header 'Content-Type: application/json' \
    --data '{\"model\": \"Qwen/Qwen3-8B-FP8\", \"prompt\": \"t7\", \"max_tokens\": 1}' http://127.0.0.1:8000/v1/completions"
}
# shellcheck disable=SC2016 # expands on the host
server_log() { on 'sudo docker logs $(sudo docker ps -aqf label=dgxspark.vllm.service=vllm)' >"$out/$1.log" 2>&1 || true; }

under_load() { # as soon as the benchmark has many requests in progress
  for _try in $(seq 900); do
    ! on "curl -s http://127.0.0.1:8000/metrics" | grep -qE '^vllm:num_requests_running\{.*\} (3[2-9]|[4-6][0-9])' || { look load; return; }
    sleep 0.3
  done
}

controller() {
  mkdir -p "$WORK/collections/ansible_collections/dgxspark"
  cp -a "$KIT/collections/." "$WORK/collections/ansible_collections/"
  ln -sfn "$COLLECTION" "$WORK/collections/ansible_collections/dgxspark/vllm"
  export ANSIBLE_COLLECTIONS_PATH=$WORK/collections ANSIBLE_CONFIG=$COLLECTION/ansible.cfg ANSIBLE_HOME=$WORK/ansible LC_ALL=C.UTF-8 PYTHONPATH=$KIT/ansible
  inventory
}

ansible-playbook() { python3 -m ansible playbook "$@"; }
ansible() { python3 -m ansible adhoc "$@"; }

# A line of the driver about memory, in the kernel's log: the exporter's part for it counts such lines.
kernel_log() {
  root "echo 'NVRM: test of the exporter: NV_ERR_NO_MEMORY' >/dev/kmsg; systemctl start dgxspark-exporter.service; \
    grep -E 'part_up|no_memory' /var/lib/dgxspark-exporter/dgxspark.prom; journalctl -b --no-pager -u dgxspark-exporter" >"$out/kernel_log.txt" 2>&1 || true
}

# shellcheck disable=SC2016 # expands on the host
frozen() { # an engine that stops computing, until the watchdog has restarted it
  local engine='docker top $(docker ps -qf label=dgxspark.vllm.service=vllm) -eo pid,args | awk "/VLLM::EngineCore/ {print \$1}"'
  local before begin=$SECONDS
  before=$(root "systemctl show --property=InvocationID --value vllm")
  root "$engine | xargs kill -STOP"
  say "frozen: /health $(on "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8000/health"), token $(answers 8 && echo yes || echo no)"
  play 13-frozen playbooks/health.yml || true
  look frozen
  # Three looks without a token are four minutes. Here each waits 4 s, and they are 2 s apart.
  root 'sed -i "s/^{/{\"canary_timeout\": 4, /" /opt/vllm/current/release.json; mkdir -p /etc/systemd/system/vllm-watchdog.timer.d;
    printf "[Timer]\nOnActiveSec=\nOnActiveSec=2\nOnUnitInactiveSec=2\n" >/etc/systemd/system/vllm-watchdog.timer.d/hurry.conf;
    systemctl daemon-reload; systemctl restart vllm-watchdog.timer' || true
  for _try in $(seq 300); do
    [ "$(root "systemctl show --property=InvocationID --value vllm" || true)" = "$before" ] || break
    sleep 0.5
  done
  say "frozen: restarted after $((SECONDS - begin)) s"
  until_true answers 4 || true
  say "frozen: answers after $((SECONDS - begin)) s"
  root "rm -r /etc/systemd/system/vllm-watchdog.timer.d; systemctl daemon-reload; systemctl restart vllm-watchdog.timer; sed -i 's/\"canary_timeout\": 4, //' /opt/vllm/current/release.json"
  play 14-health playbooks/health.yml || true
}

all() {
  play 01-site site.yml || { server_log 01-server; return 1; }
  server_log 01-server
  play 02-again site.yml || true
  play 03-health playbooks/health.yml || true
  play 04-explain playbooks/explain.yml || true
  play 05-monitoring playbooks/monitoring.yml || true
  play 05-monitoring-again playbooks/monitoring.yml || true
  kernel_log
  look idle
  under_load & local watcher=$!
  play 06-benchmark playbooks/benchmark.yml || true
  kill "$watcher" 2>/dev/null || true
  play 07-broken site.yml -e '{"vllm_extra_args": {"attention_backend": "FLASHMLA"}}' || true
  play 08-health playbooks/health.yml || true
  # Another release that is good: with the kernel that the catalog leaves out for a Spark.
  local kernel='"vllm_extra_env": {"VLLM_DISABLED_KERNELS": ""}'
  play 09-kernel site.yml -e "{$kernel}" || true
  server_log 09-server
  play 10-benchmark playbooks/benchmark.yml -e "{$kernel}" || true
  play 11-rollback playbooks/rollback.yml || true
  play 12-health playbooks/health.yml || true
  frozen || true
  play 15-releases playbooks/releases.yml || true
  ended
  say "all done"
}

turns() {
  two_services
  play 20-two site.yml || true
  play 21-swap playbooks/swap.yml -l spark01-vllm-second || true
  play 22-health playbooks/health.yml || true
  play 23-back playbooks/swap.yml -l spark01-vllm || true
  play 24-stop playbooks/stop.yml || true
  ended
}

ended() {
  cp -r "$WORK/benchmarks" "$out/" 2>/dev/null || true
  on "sudo journalctl -b --no-pager -u 'vllm*' -u docker.service -u earlyoom.service -u 'dgxspark*' -u 'prometheus*' | tail -400" >"$out/journal.txt" 2>&1 || true
}

case ${1:-} in
  up) up ;;
  play | turns)
    out=$(realpath -m "${2:?OUT}")
    mkdir -p "$out"
    controller
    if [ "$1" = play ]; then all; else turns; fi
    ;;
  *) sed -n '2,7s/^# //p' "$0"; exit 2 ;;
esac
