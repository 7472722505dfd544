#!/usr/bin/env bash
# Make a Docker Engine answer on this machine, or stop the one that `up` started by hand.
#   engine.sh up|wake|down STATE_DIR
# `wake` is `up` without an installation. A running engine is used as it is.
# Prints one word on success: running | started | stopped; nothing if there was nothing to do.
set -euo pipefail

action=${1:?up, wake or down}
state=${2:?state directory}
pid_file=$state/dockerd.pid
log_file=$state/dockerd.log
packages=(docker.io docker-cli iproute2 iptables mmdebstrap zstd)

fail() { echo "sandbox: $*" >&2; exit 1; }
answers() { docker info >/dev/null 2>&1; }

alive() {  # a zombie that its parent has not collected is not
  grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status"
}

ours() {  # is the process in our pid file still that daemon?
  [[ -s $pid_file && $(cat "/proc/$(<"$pid_file")/comm" 2>/dev/null) == dockerd ]]
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
  if [[ -d /run/systemd/system ]]; then
    systemctl start docker
  elif ! answers; then
    setsid nohup dockerd --pidfile "$pid_file" >>"$log_file" 2>&1 </dev/null &
  fi
  for _ in $(seq 120); do
    answers && { echo started; return; }
    sleep 0.5
  done
  fail "the Docker engine did not answer within 60 s; see $log_file"
}

wake() {
  if command -v dockerd >/dev/null; then up; fi
}

down() {
  ours && alive "$(<"$pid_file")" || return 0
  local pid
  pid=$(<"$pid_file")
  kill "$pid"
  for _ in $(seq 120); do
    alive "$pid" || { rm -f "$pid_file"; echo stopped; return; }
    sleep 0.5
  done
  fail "the Docker engine (process $pid) did not stop within 60 s"
}

mkdir -p "$state"
"$action"
