#!/usr/bin/env bash
# mypy on the plugins and on what the roles put on the host, under the names that Ansible gives them: ansible_collections.dgxspark.vllm.plugins.…
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tree=$root/.cache/types
mkdir -p "$tree/ansible_collections/dgxspark"
ln -sfn "$root" "$tree/ansible_collections/dgxspark/vllm"
cd "$tree"
exec mypy --config-file "$root/pyproject.toml" -p ansible_collections.dgxspark.vllm.plugins -p ansible_collections.dgxspark.vllm.tools -p ansible_collections.dgxspark.vllm.roles.vllm.files -p ansible_collections.dgxspark.vllm.roles.monitoring.files
