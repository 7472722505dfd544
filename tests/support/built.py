# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as ansible-galaxy builds and installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from support.paths import BIN, ROOT


def ansible_galaxy(folder: Path, *arguments: str | Path) -> None:
    """`ansible-galaxy collection`, with FOLDER as home."""
    run = subprocess.run(
        [BIN / "ansible-galaxy", "collection", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "ANSIBLE_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def build(folder: Path, private: tuple[str, ...] = ()) -> Path:
    """The archive, of a copy of this clone in FOLDER, which also has files with the names PRIVATE."""
    clone = folder / "clone"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in (name for name in listed.split("\0") if (ROOT / name).is_file()):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    for name in private:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text("private")
    ansible_galaxy(folder, "build", clone, "--output-path", folder / "out")
    (archive,) = (folder / "out").iterdir()
    return archive


def install(archive: Path, folder: Path) -> None:
    """Into FOLDER, which then is a path of collections. By force: the clone itself counts as installed."""
    ansible_galaxy(folder, "install", archive, "--force", "--no-deps", "--collections-path", folder)
    assert (folder / "ansible_collections" / "dgxspark" / "vllm" / "MANIFEST.json").exists()
