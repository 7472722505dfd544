# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Form of the pages: their links lead somewhere, every page is in an index, every block says what it is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from pages import LANGUAGES, PAGES, anchors, blocks, name_of

from support.paths import ROOT

GENERATED = {"docs/troubleshooting.md", "docs/models.md"}


def prose(page: Path) -> str:
    return re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^()\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _hash, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{name_of(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.where}: ```{block.language}"


@pytest.mark.parametrize("page", [page for page in PAGES if name_of(page) not in GENERATED], ids=name_of)
def test_lines_are_not_too_long(page: Path) -> None:
    for line in prose(page).splitlines():
        assert len(line) <= 120 or line.lstrip().startswith("|"), f"{name_of(page)}: {line}"


def test_the_front_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/**/*.md"):
        if page.name != "README.md":
            assert f"]({page.relative_to(ROOT / 'docs').as_posix()}" in index, page


def test_every_playbook_is_on_the_front_page() -> None:
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = " ".join(re.findall(r"(?m)^\| (`playbooks/[^|]+) \|", front))
    assert set(re.findall(r"`playbooks/(\w+\.yml)`", rows)) == {path.name for path in ROOT.glob("playbooks/*.yml")}


def test_pages_that_code_names_are_there() -> None:
    """Remedies, comments and module pages name pages by their path."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\n"):
        file = ROOT / name
        if not file.is_file() or file.suffix not in (".py", ".yml", ".j2", ".sh", "") or "fixtures" in file.parts:
            continue
        text = file.read_text(encoding="utf-8", errors="ignore")
        for path, anchor in re.findall(r"(?<![/\w])(docs/[\w/-]+\.md)(?:#([\w-]+))?", text):
            assert (ROOT / path).exists(), f"{name} names {path}"
            if anchor:
                assert anchor in anchors(ROOT / path), f"{name} names {path}#{anchor}"


def test_the_picture_is_there() -> None:
    assert os.path.exists(ROOT / "docs/how-it-works.svg")
