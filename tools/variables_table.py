# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the tables of all public variables into README.md, from the roles' argument specs.

variables_table.py [--check] [FILE]     --check changes nothing and fails if FILE is not up to date
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


def table(role: str, spec: dict[str, Any]) -> str:
    rows = [
        f"| `{name}` | {type_of(option)} | {default_of(option)} | {description_of(option)} |"
        for name, option in spec.get("options", {}).items()
    ]
    head = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([f"### {role}", "", plain(spec["short_description"]) + ".", "", *head, *rows])


def tables(roles: Path) -> str:
    """The roles in alphabetical order, but `vllm` first: that is where users look."""
    files = sorted(roles.glob("*/meta/argument_specs.yml"), key=lambda file: (file.parts[-3] != "vllm", file))
    return "\n\n".join(
        table(file.parts[-3], yaml.safe_load(file.read_text())["argument_specs"]["main"]) for file in files
    )


def fill(text: str, content: str) -> str:
    """The text with everything between the two markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"needs one line {BEGIN} and, after it, one line {END}")
    return f"{text.split(BEGIN)[0]}{BEGIN}\n\n{content}\n\n{END}{text.split(END)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the tables of all public variables into README.md.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the file is not up to date")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "README.md")
    arguments = parser.parse_args()
    before = arguments.file.read_text()
    try:
        after = fill(before, tables(ROOT / "roles"))
    except ValueError as problem:
        print(f"{arguments.file}: {problem}", file=sys.stderr)
        return 1
    if before == after:
        return 0
    if arguments.check:
        print(f"{arguments.file}: the tables of variables are out of date; run: make docs", file=sys.stderr)
        return 1
    arguments.file.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
