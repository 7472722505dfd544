# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/troubleshooting.md from the tables of causes and notes, so that page and programs cannot disagree.

troubleshooting.py [--check]     --check changes nothing and fails if the page is not up to date
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"

HEAD = """\
# Troubleshooting

<!-- Written by tools/troubleshooting.py (`make docs`) from plugins/module_utils/_vllm_signatures.py and
     plugins/plugin_utils/_notes.py: change it there. -->

`playbooks/health.yml` and every deployment that fails name a cause by one of the words below, say what it means with
the numbers of your host, and what to do. Words in capitals stand for those numbers. Search this page for the word, or
for a piece of the line that you see in `docker logs`.

The first line that names a cause wins; lines that only say that something failed
([wrappers](#what-vllm-only-wraps)) count when there is nothing better. "Known" tells how sure we are of a wording:
**seen** in the output of the real program, read in its **source**, or published by others as a **report**. Nothing of
this was seen on a real Spark yet. What the causes look like when they are met is in [faults.md](reference/faults.md).
"""

# What became of the guide's own advice: its entry's title, as _vllm_signatures has it, and our word on it.
ADVICE = {
    "MEMORY": "The cause names the value to set. `docker system prune` frees disk, not memory.",
    "FP8": "The guide's advice is the wrong way round: its own model is quantized in blocks, and that is what meets the"
    " CUTLASS kernel in question. The image decides, not the model.",
    "DOWNLOAD": "The guide's `rm` matches nothing, because partial files lie in `blobs/`. playbooks/clean_cache.yml"
    " removes what is dead and keeps what somebody still writes.",
    "CAPABILITY": "The guide is right: it can be ignored.",
    "THROUGHPUT": "The metric is `vllm:num_requests_running`; the guide's name never existed. A KV cache that is 80 to"
    " 95 % full is no aim: near 100 % requests are preempted.",
}


def load(path: str) -> ModuleType:
    """A module of plain data, without Ansible around it."""
    file = ROOT / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(text: str) -> str:
    """A text whose placeholders are words in capitals: `{have}` becomes HAVE."""
    text = re.sub(r"\{(\w+)[^}]*\}", lambda found: found[1].upper(), text)
    return text.replace("<", "\\<")


def sentence(text: str) -> str:
    text = words(text)
    return (text if text.startswith("vllm") else text[:1].upper() + text[1:]) + "."


def entry(found: Any) -> list[str]:
    lines = [f"### {found.id}", "", sentence(found.meaning), "", f"**What to do:** {words(found.remedy)}.", ""]
    if hasattr(found, "pattern"):
        lines += [f"Written by: {found.versions}. Known: {found.known}. Recognised by:", ""]
        lines += ["```text", found.pattern, "```", ""]
    return lines


def section(title: str, text: str, entries: Iterable[Any]) -> list[str]:
    lines = [f"## {title}", "", text, ""]
    for found in entries:
        lines += entry(found)
    return lines


def guide(signatures: ModuleType, entries: list[Any]) -> list[str]:
    """The deployment guide's own entries, and what became of each."""
    lines = ["## The guide's entries", ""]
    lines += ["What the deployment guide lists under troubleshooting, and the words that tell its cases apart:", ""]
    lines += ["| the guide | here | |", "| --- | --- | --- |"]
    for name, advice in ADVICE.items():
        title = getattr(signatures, name)
        ids = [f"[{found.id}](#{found.id})" for found in entries if getattr(found, "guide", "") == title]
        lines.append(f"| {title} | {', '.join(ids)} | {advice} |")
    return [*lines, ""]


def harmless(entries: Iterable[Any]) -> list[str]:
    lines = ["## Lines that mean nothing", "", "They look like a failure, and are never taken for one.", ""]
    for found in entries:
        quoted = ", ".join(f"`{literal.strip()}`" for literal in found.literals)
        lines += [f"### {found.id}", "", f"{quoted}: {words(found.meaning)}.", ""]
    return lines


def page() -> str:
    signatures = load("plugins/module_utils/_vllm_signatures.py")
    notes = load("plugins/plugin_utils/_notes.py")

    def of_kind(*kinds: str) -> list[Any]:
        return [found for found in signatures.SIGNATURES if found.kind in kinds]

    every = [*signatures.SIGNATURES, *signatures.CONDITIONS, *signatures.HARMLESS, *notes.NOTES]
    lines = [
        HEAD,
        *guide(signatures, every),
        *section(
            "Why a start fails",
            "Recognised by a line of vLLM's log, of Docker or of the unit's journal.",
            of_kind("fatal", "exit"),
        ),
        *section(
            "What a start waits for",
            "Shown while it waits; the cause if nothing moves any more, or it ends for no other reason.",
            of_kind("hint", "retry"),
        ),
        *section(
            "What vLLM only wraps",
            "The cause is in another line, which this collection does not know.",
            of_kind("wrapper"),
        ),
        *section(
            "What the host shows", "Recognised by what is around the server, not by its log.", signatures.CONDITIONS
        ),
        *section("Hosts that could not be judged", "Only in playbooks/health.yml.", notes.UNSEEN),
        *section(
            "Notes", "Worth a word below the table of playbooks/health.yml; they make no host unhealthy.", notes.NOTES
        ),
        *harmless(signatures.HARMLESS),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/troubleshooting.md.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the page is not up to date")
    arguments = parser.parse_args()
    content = page()
    if PAGE.exists() and PAGE.read_text() == content:
        return 0
    if arguments.check:
        print(f"{PAGE.relative_to(ROOT)}: not up to date, run `make docs`", file=sys.stderr)
        return 1
    PAGE.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
