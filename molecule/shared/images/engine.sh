#!/usr/bin/env bash
# Make a Docker Engine answer on this machine, or stop the one that `up` started by hand.
#   engine.sh local|up|wake|down STATE_DIR
# `local` fails if the docker command goes to another engine than Ansible's modules. `wake` is `up` without an installation,
# and `down` stops what it woke. A running engine is used as it is.
# Prints one word on success: running | started | stopped; nothing if there was nothing to do.
set -euo pipefail

action=${1:?up, wake or down}
state=${2:?state directory}
pid_file=$state/dockerd.pid
note=$state/dockerd.started # pid, start time and boot of the engine that `up` started: a pid alone may be another's by now
woken=$state/docker.woken   # which run of systemd's engine `wake` started, where its owner had stopped it
log_file=$state/dockerd.log
packages=(docker.io docker-cli iproute2 iptables mmdebstrap zstd)

fail() { echo "sandbox: $*" >&2; exit 1; }
answers() { docker info >/dev/null 2>&1; }

alive() {  # a zombie that its parent has not collected is not
  grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status"
}

identity() {  # of the process: nothing if there is none
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  set -- "$1" "${stat##*) }"
  echo "$1 $(cut -d' ' -f20 <<<"$2") $(</proc/sys/kernel/random/boot_id)"
}

ours() {  # is the process in our note still that daemon?
  local pid
  [[ -s $note ]] && pid=$(cut -d' ' -f1 "$note") && [[ $(identity "$pid") == "$(<"$note")" ]]
}

run_of_docker() {  # systemd has a name for each; nothing while it is stopped
  systemctl show --property=InvocationID --value docker.service
}

on_this_machine() {
  if [[ -n ${DOCKER_HOST:-} && $DOCKER_HOST != unix://* ]]; then
    fail "DOCKER_HOST is $DOCKER_HOST; the sandbox runs on this machine only: unset DOCKER_HOST and try again"
  fi
  command -v docker >/dev/null || return 0
  context=$(docker context show 2>/dev/null || echo default)
  if [[ $context != default ]]; then
    fail "the docker command uses the context $context, which Ansible's modules do not; run: export DOCKER_CONTEXT=default"
  fi
}

install() {
  local package wanted=()
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && continue
    wanted+=("$package")
  done
  [[ ${#wanted[@]} -eq 0 ]] && return
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >&2
  # Debian 12 has the client inside docker.io, Debian 13 and Ubuntu's newer ones apart: ask only for what exists.
  local known=()
  for package in "${wanted[@]}"; do
    apt-cache show "$package" >/dev/null 2>&1 && known+=("$package")
  done
  # A package must not start a daemon here where no init system can supervise it.
  apt-get install -y -qq --no-install-recommends "${known[@]}" >&2
}

up() {
  on_this_machine
  if answers; then
    echo running
    return
  fi
  if [[ $(id -u) -ne 0 ]]; then
    if command -v docker >/dev/null; then
      fail "the Docker engine does not answer this user; start it (sudo systemctl start docker) or join its group (sudo usermod -aG docker $USER, then log in again)"
    fi
    fail "Docker is not installed and this user is not root; install it (Debian, Ubuntu: sudo apt-get install docker.io) and try again"
  fi
  if ! command -v dockerd >/dev/null; then
    command -v apt-get >/dev/null || fail "Docker is not installed; install Docker Engine with this system's package manager and try again"
    install
  fi
  mkdir -p "$state"
  local mine=''
  if [[ -d /run/systemd/system ]]; then
    systemctl start docker
  elif ! answers; then
    setsid nohup dockerd --pidfile "$pid_file" >>"$log_file" 2>&1 </dev/null &
    mine=yes
  fi
  for _ in $(seq 120); do
    if answers; then
      [[ -z $mine ]] || identity "$(<"$pid_file")" >"$note"
      echo started
      return
    fi
    sleep 0.5
  done
  fail "the Docker engine did not answer within 60 s; see $log_file"
}

wake() {
  command -v dockerd >/dev/null || return 0
  local how
  how=$(up)
  if [[ $how == started && -d /run/systemd/system ]]; then run_of_docker >"$woken"; fi
  echo "$how"
}

down() {
  if [[ -e $woken ]]; then
    if [[ -s $woken && $(<"$woken") == "$(run_of_docker)" ]]; then
      systemctl stop docker.socket docker.service
      echo stopped
    fi
    rm -f "$woken"
    return
  fi
  ours || return 0
  local pid
  pid=$(cut -d' ' -f1 "$note")
  kill "$pid"
  for _ in $(seq 120); do
    alive "$pid" || { rm -f "$pid_file" "$note"; echo stopped; return; }
    sleep 0.5
  done
  fail "the Docker engine (process $pid) did not stop within 60 s"
}

case $action in
  local) on_this_machine ;;
  up | wake | down) "$action" ;;
  *) fail "$action: use local, up, wake or down" ;;
esac
