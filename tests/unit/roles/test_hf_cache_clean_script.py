# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daily clean of the role hf_cache: its files are those of the module, all of them, and enough."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from on_the_host import code, installed, lacking

CODE = code("hf_cache", "__hf_cache_clean_code")


@pytest.fixture(name="script")
def _script(tmp_path: Path) -> list[str]:
    """As the role lays it out on the host."""
    return [*installed(CODE, tmp_path), "clean"]


def clean(script: list[str], path: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*script, path], capture_output=True, check=False, text=True, timeout=60)


def test_the_role_copies_what_the_script_imports() -> None:
    assert lacking(CODE) == set()
    assert any(path.endswith("/_hf_cache/clean.py") for path in CODE)


def test_it_runs_with_these_files_alone(script: list[str], tmp_path: Path) -> None:
    blobs = tmp_path / "hf" / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / ("1" * 64)).write_bytes(b"x")
    with (blobs / f"{'2' * 64}.incomplete").open("wb"):  # somebody writes it
        run = clean(script, tmp_path / "hf")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1] == "0 dead partial downloads, 0 bytes freed"
    assert f"left alone {blobs}/{'2' * 64}.incomplete: a process has it open" in run.stdout
    assert len(list(blobs.iterdir())) == 2


@pytest.mark.parametrize(("path", "said"), [("/etc", "path: /etc is not allowed"), ("hf", "path: hf is not absolute")])
def test_it_refuses_what_the_module_refuses(script: list[str], path: str, said: str) -> None:
    run = clean(script, path)
    assert run.returncode == 1
    assert run.stderr.startswith(said)
    assert "Traceback" not in run.stderr
