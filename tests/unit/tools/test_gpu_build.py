# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests/gpu/build.sh packs is what was asked for, also beside an earlier build. pip and xz are stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.paths import ROOT

PYTHON = """#!/bin/sh
[ "$1 $2" != "-m venv" ] || { mkdir -p "$3/bin"; cp "$STANDIN_PIP" "$3/bin/pip"; }
"""
PIP = """#!/bin/sh
for word; do
    case "$word" in
    vllm==*) mkdir -p "$target/vllm"; echo "$word" > "$target/vllm/version" ;;
    ansible-core==*) mkdir -p "$target/ansible" ;;
    pyroute2==*) mkdir -p "$target/pyroute2" ;;
    esac
    [ "$before" != --target ] || target=$word
    before=$word
done
"""


def program(place: Path, text: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(0o755)
    return place


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A clone with the script, and with stand-ins for what it calls."""
    shutil.copytree(ROOT / "tests" / "gpu", tmp_path / "tests" / "gpu")
    for name in ("ansible", "community"):
        (tmp_path / ".venv/lib/python3.12/site-packages/ansible_collections" / name).mkdir(parents=True)
    program(tmp_path / ".venv/bin/python", "#!/bin/sh\necho {}\n")
    program(tmp_path / "bin/docker", "#!/bin/sh\nexit 1\n")
    program(tmp_path / "bin/python3.12", PYTHON)
    program(tmp_path / "bin/xz", "#!/bin/sh\nexec cat\n")
    program(tmp_path / "pip", PIP)
    return tmp_path


def packed(build: Path, version: str) -> str:
    environment = {"PATH": f"{build}/bin:{os.environ['PATH']}", "VLLM_VERSION": version}
    subprocess.run(
        ["bash", "tests/gpu/build.sh", "out"],
        cwd=build,
        env={**environment, "STANDIN_PIP": str(build / "pip")},
        check=True,
        capture_output=True,
        timeout=60,
    )
    unpack = "cat out/part.* | tar xOf - ./vllm/version"
    return subprocess.run(["bash", "-c", unpack], cwd=build, check=True, capture_output=True, text=True).stdout.strip()


def test_another_version_in_the_same_folder(build: Path) -> None:
    assert packed(build, "0.24.0") == "vllm==0.24.0"
    assert packed(build, "0.32.0") == "vllm==0.32.0"
    assert packed(build, "0.24.0") == "vllm==0.24.0"


def test_a_kit_of_an_older_build_gets_what_it_lacks(build: Path) -> None:
    (build / "out/kit/ansible/ansible").mkdir(parents=True)
    packed(build, "0.24.0")
    assert (build / "out/kit/ansible/pyroute2").is_dir()
