# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No file of the repository holds what looks like a real token or private key. The tokens of tests are shorter."""

from __future__ import annotations

import re
import subprocess

import pytest

from support.paths import ROOT

FORMS = {
    "Hugging Face": r"hf_[A-Za-z0-9]{34}\b",
    "NGC": r"nvapi-[\w-]{40,}",
    "GitHub": r"(?:gh[pousr]_|github_pat_)\w{30,}",
    "cloud": r"\bAKIA[A-Z0-9]{16}\b",
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40,}",
    "web token": r"\beyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}",
}


def found(text: str) -> list[str]:
    return [name for name, form in FORMS.items() if re.search(form, text)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("token: hf_" + "aB3" * 11 + "x", "Hugging Face"),
        ("nvapi-" + "x" * 64, "NGC"),
        ("ghp_" + "a1" * 18, "GitHub"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n" + "b3Bl" * 17, "private key"),
    ],
)
def test_it_knows_them(text: str, name: str) -> None:
    assert found(text) == [name]


def test_no_file_holds_one() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if (ROOT / name).is_file()]
    assert len(files) > 500
    held = {
        path.relative_to(ROOT).as_posix(): forms
        for path in files
        if (forms := found(path.read_text(encoding="utf-8", errors="ignore")))
    }
    assert held == {}
