#!/usr/bin/env bash
# The pages of ansible-doc, checked, and as a web site in .cache/docsite. Not part of `make test`: it needs Sphinx, in an environment
# of its own. The guides are Markdown and stay as they are; modules and variables name them by their path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$PWD/.cache/docsite
collections=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
[ -x "$folder/venv/bin/sphinx-build" ] || "$VENV/bin/python" -m venv --clear "$folder/venv"
core=$("$VENV/bin/python" -c 'import ansible; print(ansible.__version__)')
"$folder/venv/bin/pip" -qq --disable-pip-version-check --no-input install "ansible-core==$core" \
    antsibull-docs==2.28.0 ansible-pygments==0.1.2 sphinx==9.0.4 sphinx-ansible-theme==0.10.4

export PATH="$folder/venv/bin:$PATH" ANSIBLE_COLLECTIONS_PATH=$collections
antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs dependent \
    --disallow-unknown-collection-refs .
rm -rf "$folder/site"
mkdir -m 755 "$folder/site"
antsibull-docs sphinx-init --lenient --use-current --squash-hierarchy --project dgxspark.vllm --title dgxspark.vllm \
    --dest-dir "$folder/site" dgxspark.vllm >/dev/null
sed -i "/\.inv')),\$/d" "$folder/site/conf.py" # the pages of others are on the internet
"$folder/site/build.sh"
echo "the site begins with $folder/site/build/html/index.html"
