# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the table of each role's variables into its README.md, from its argument specification.

variables_table.py [--check] [FOLDER]     FOLDER holds the roles; --check changes nothing, and fails if a table is old
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BEGIN = "<!-- variables:begin -->"
END = "<!-- variables:end -->"


def plain(text: str) -> str:
    """Ansible's documentation markup as Markdown, fit for a table cell."""
    text = re.sub(r"\b(?:L|R)\(([^,)]+), *([^)]+)\)", r"[\1](\2)", text)
    text = re.sub(r"\bB\(([^)]*)\)", r"**\1**", text)
    text = re.sub(r"\bI\(([^)]*)\)", r"*\1*", text)
    text = re.sub(r"\bU\(([^)]*)\)", r"\1", text)
    text = re.sub(r"\bP\(([^)#]*)(?:#[a-z]+)?\)", r"`\1`", text)
    # inside of a mark, \) stands for )
    text = re.sub(
        r"\b(?:C|E|F|M|O|RV|V)\(((?:\\.|[^)\\])*)\)", lambda found: "`" + re.sub(r"\\(.)", r"\1", found[1]) + "`", text
    )
    return " ".join(text.split()).replace("|", "\\|")


def default_of(option: dict[str, Any]) -> str:
    value = option.get("default")
    if value is None:
        return "*unset*"
    text = value if isinstance(value, str) and value else json.dumps(value)
    return "`" + text.replace("|", "\\|") + "`"


def type_of(option: dict[str, Any]) -> str:
    kind = option.get("type", "str")
    return f"list of {option['elements']}" if kind == "list" and "elements" in option else kind


def description_of(option: dict[str, Any]) -> str:
    description = option["description"]
    sentences = [description] if isinstance(description, str) else list(description)
    if "choices" in option:
        sentences.append("One of " + ", ".join(f"V({choice})" for choice in option["choices"]) + ".")
    if option.get("required"):
        sentences.append("Required.")
    return plain(" ".join(sentences))


def table(spec: dict[str, Any]) -> str:
    rows = [
        f"| `{name}` | {type_of(option)} | {default_of(option)} | {description_of(option)} |"
        for name, option in spec.get("options", {}).items()
    ]
    return "\n".join(["| variable | type | default | meaning |", "| --- | --- | --- | --- |", *rows])


def fill(text: str, content: str) -> str:
    """The text with everything between the two markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"needs one line {BEGIN} and, after it, one line {END}")
    return f"{text.split(BEGIN)[0]}{BEGIN}\n\n{content}\n\n{END}{text.split(END)[1]}"


def update(role: Path, check: bool) -> str | None:
    """Writes the table of one role, unless CHECK. Returns what is wrong."""
    page = role / "README.md"
    before = page.read_text(encoding="utf-8")
    spec = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    try:
        after = fill(before, table(spec["argument_specs"]["main"]))
    except ValueError as problem:
        return f"{page}: {problem}"
    if before == after:
        return None
    if check:
        return f"{page}: the table of variables is out of date; run: make docs"
    page.write_text(after, encoding="utf-8")
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the table of each role's variables into its README.md.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if a table is not up to date")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "roles")
    arguments = parser.parse_args()
    roles = sorted(file.parent.parent for file in arguments.folder.glob("*/meta/argument_specs.yml"))
    wrong = [line for role in roles if (line := update(role, arguments.check))]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
