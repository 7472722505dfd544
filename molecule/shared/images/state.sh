#!/usr/bin/env bash
# The folder of the sandbox's state and caches. Only one that carries the sandbox's marker is used and removed.
#   state.sh claim|remove FOLDER        prints made, kept or removed; nothing if there was nothing to do
set -euo pipefail

action=${1:?claim or remove}
folder=${2:?folder}
marker=$folder/.dgxspark-sandbox

ours() {  # the key: folders of before there were markers
  [[ -f $marker ]] || grep -qs ' dgxspark-sandbox$' "$folder/id_ed25519.pub"
}

refuse_foreign() {
  if [[ -e $folder ]] && ! ours && [[ ! -d $folder || -n $(ls -A "$folder") ]]; then
    echo "sandbox: $folder exists and is not the sandbox's (it has no file ${marker##*/}); move it away, or name another place in DGXSPARK_SANDBOX_DIR" >&2
    exit 1
  fi
}

claim() {
  [[ -f $marker ]] && { echo kept; return; }
  mkdir -p "$folder"
  touch "$marker"
  echo made
}

remove() {
  [[ -e $folder ]] || return 0
  rm -rf -- "$folder"
  echo removed
}

refuse_foreign
"$action"
