# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""make setup takes the collections out of one known file only. The Python that it calls is a stand-in."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.paths import ROOT

PYTHON = """#!/bin/sh
case "$*" in
*platform*sys.prefix*) echo "3.12.0 $PWD/env" ;;
*platform*) echo 3.12.0 ;;
*hashlib*) exec {python} "$@" ;;
*sysconfig*) echo "$PWD/site" ;;
esac
"""


@pytest.mark.parametrize("right", [True, False])
def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, right: bool) -> None:
    python = shutil.which("python3")
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    text = (ROOT / "tools" / "setup.sh").read_text()
    bundle, known = (re.search(rf"^{name}=(\S+)$", text, re.MULTILINE) for name in ("bundle", "bundle_sha256"))
    assert bundle and known
    wheel = tmp_path / ".cache" / f"ansible-{bundle[1]}-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"a wheel")
    if right:
        text = text.replace(known[1], hashlib.sha256(b"a wheel").hexdigest())
    (tmp_path / "tools" / "setup.sh").write_text(text)
    for place in (tmp_path / "env" / "bin" / "python", tmp_path / "bin" / "python3"):
        place.parent.mkdir(parents=True)
        place.write_text(PYTHON.format(python=python))
        place.chmod(0o755)
    (tmp_path / "env" / "bin" / "ansible").symlink_to("/bin/true")
    run = subprocess.run(
        ["bash", "tools/setup.sh"],
        cwd=tmp_path,
        check=False,
        env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "VENV": "env", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode == 0) is right, run.stderr
    assert ("has the SHA-256" in run.stderr) is not right
    assert (tmp_path / "site").exists() is right


VLLM = "molecule/shared/images/vllm"


@pytest.mark.parametrize(
    ("lock", "lists", "unlocked"),
    [
        ("requirements.lock", ("requirements.txt", "requirements-dev.txt"), ()),
        (f"{VLLM}/requirements.lock", (f"{VLLM}/requirements.txt",), ("torch",)),
    ],
)
def test_the_lock_has_what_is_required_with_hashes(
    lock: str, lists: tuple[str, ...], unlocked: tuple[str, ...]
) -> None:
    """After a change of requirements*.txt: make lock."""
    text = (ROOT / lock).read_text()
    names = re.findall(r"^([\w.-]+==[^ ;]+)", text, re.MULTILINE)
    hashed = re.findall(r"^([\w.-]+==[^ ;]+)[^\n]*\\\n +--hash=sha256:\w{64}", text, re.MULTILINE)
    assert hashed == names
    for name in lists:
        required = re.findall(r"^[\w.-]+==[^ ;\n]+", (ROOT / name).read_text(), re.MULTILINE)
        wanted = {each.lower().replace("_", "-") for each in required if each.partition("==")[0] not in unlocked}
        assert wanted <= set(names)
