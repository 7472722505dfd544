# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of the documentation, and what their code blocks hold."""

from __future__ import annotations

import re
import shlex
import typing as t
from pathlib import Path

from support.paths import ROOT

PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(ROOT / name for name in ("CODE_OF_CONDUCT.md", "SECURITY.md", "SUPPORT.md")),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("roles/*/README.md"),
    ]
)
LANGUAGES = {"sh", "yaml", "python", "nginx", "mermaid", "text"}


class Block(t.NamedTuple):
    page: str  # relative to the repository
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def path(self) -> str:
        """The file whose content this is: a comment in the first line."""
        found = re.match(r"# (\S+/\S+)\n", self.text)
        return found[1] if found else ""


class Command(t.NamedTuple):
    where: str
    words: list[str]

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, those in list items too."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opening = re.fullmatch(r"( *)```(\w*)", lines[number])
        number += 1
        if not opening:
            continue
        first = number
        while lines[number] != f"{opening[1]}```":
            number += 1
        text = "".join(f"{line.removeprefix(opening[1])}\n" for line in lines[first:number])
        found.append(Block(name_of(page), first, opening[2], text))
        number += 1
    return found


def commands(block: Block) -> list[Command]:
    """The simple commands of a shell block, without comments and what connects them."""
    found: list[Command] = []
    pending = ""
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        pending += f"{line}\n"
        lexer = shlex.shlex(pending, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        if line.endswith("\\"):
            continue
        try:
            words = list(lexer)
        except ValueError:  # an open quote: the command goes on
            continue
        pending = ""
        where = f"{block.page}:{number}"
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set("&|;"):
                if command:
                    found.append(Command(where, command))
                command = []
            elif word != "\n":
                command.append(word)
    assert not pending.strip(), f"{block.where}: a command without its end: {pending}"
    return found


def inline_commands(page: Path) -> list[Command]:
    """The commands of Ansible and make within sentences and tables."""
    found: list[Command] = []
    text = re.sub(r"(?ms)^ *```.*?^ *```$", lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"))
    for span in re.finditer(r"`((?:ansible-\w+|make)\s[^`]+)`", text):
        number = text.count("\n", 0, span.start()) + 1
        found.append(Command(f"{name_of(page)}:{number}", shlex.split(span[1])))
    return found


def anchors(page: Path) -> set[str]:
    """What a link may name behind #, by GitHub's rules."""
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"))
    slugs: set[str] = set()
    for heading in re.findall(r"(?m)^#+ (.+)$", text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slugs.add(re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-"))
    return slugs
