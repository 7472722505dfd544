#!/usr/bin/env bash
# What Galaxy asks of a collection that is uploaded to it. Not part of `make test`: galaxy-importer is in an environment of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$PWD/.cache/importer
[ -x "$folder/venv/bin/pip" ] || "$VENV/bin/python" -m venv --clear "$folder/venv"
core=$("$VENV/bin/python" -c 'import ansible; print(ansible.__version__)')
"$folder/venv/bin/pip" -qq --disable-pip-version-check --no-input install "ansible-core==$core" galaxy-importer==0.4.44

export PATH="$folder/venv/bin:$PATH"
rm -rf "$folder/clone" "$folder/out"
mkdir -p "$folder/clone" "$folder/out"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from - --create | tar --extract --directory "$folder/clone"

# Galaxy asks for the address of the repository, and only that there is one.
address=1
grep -q '^repository: ' galaxy.yml || address=
[ "$address" ] || echo 'repository: https://repository.invalid' >>"$folder/clone/galaxy.yml"

ansible-galaxy collection build "$folder/clone" --output-path "$folder/out"
cd "$folder/out" # the result is written there
export GALAXY_IMPORTER_CHECK_REQUIRED_TAGS=true GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP="$folder/tmp"
python -m galaxy_importer.main ./*.tar.gz | tee importer.log
if grep -E '^(WARNING|ERROR):' importer.log >/dev/null; then
    echo "importer: Galaxy would import it, with the warnings above. ansible-lint has 180 s there: after a timeout, try again on an idle machine" >&2
    exit 1
fi
if [ ! "$address" ]; then
    echo "importer: passed with a made-up address. Before it is published, galaxy.yml needs \`repository\`, and README.md has REPOSITORY" >&2
fi
