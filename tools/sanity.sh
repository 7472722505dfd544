#!/usr/bin/env bash
# ansible-test sanity on a copy of the working tree: ansible-test insists on a real folder ansible_collections/NAMESPACE/NAME.
# It keeps its environments under ~/.ansible/test, so it gets a HOME of its own.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
VENV=${VENV:-.venv}
venv=$(realpath "$VENV")
work=$root/.cache/sanity/$(basename "$venv")
copy=$work/ansible_collections/dgxspark/vllm
home=$work/home

rm -rf "$copy"
mkdir -p "$copy" "$home/.ansible/test/cache" "$home/.config" "$home/.pip"
# Only what the rules are for: tests, sandbox and tools are not part of the collection (make lint checks them).
git ls-files -z --cached --others --exclude-standard --deduplicate -- ':!tests' ':!molecule' ':!tools' \
    | { while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done; } \
    | tar --create --null --files-from=- | tar --extract --directory "$copy"
git -C "$copy" init --quiet
git -C "$copy" add --all

# ansible-test would fetch get-pip from Ansible's servers; ensurepip has a pip, and the package index has the version it wants.
internal=$("$venv/bin/python" -c 'import ansible_test._internal as internal; print(internal.__path__[0])')
pip=$(sed -n "s/^ *pip='\([0-9.]*\)',\$/\1/p" "$internal/python_requirements.py")
[ -n "$pip" ] || { echo "sanity: which pip ansible-test wants is no longer in python_requirements.py" >&2; exit 1; }
cp tools/get_pip.py "$home/.ansible/test/cache/get_pip_${pip//./_}.py"

# The owner's pip settings stay in force: those in the home folder, and those in the environment, which ansible-test does not pass on.
[ ! -e "$HOME/.config/pip" ] || ln -sfn "$HOME/.config/pip" "$home/.config/pip"
{ printf "[global]\nquiet=2\n"; env | sed -n 's/^PIP_\([A-Z_]*=\)/\1/p' | awk -F= '{name = tolower($1); gsub("_", "-", name); sub("^[^=]*", name)} 1'; } >"$home/.pip/pip.conf"

cd "$copy"
python=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
HOME=$home PATH=$venv/bin:$PATH exec "$venv/bin/ansible-test" sanity --color no --venv --python "$python" "$@"
