# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the tables of docs/reference/faults.md from what the journey `faults` has seen (.cache/faults.json).

faults_table.py [--seen FILE] [FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN = "<!-- faults:begin -->"
END = "<!-- faults:end -->"

Row = Mapping[str, Any]
KINDS = {
    "start": ("Starts (`playbooks/deploy.yml`)", ("fault", "verdict", "cause", "remedy", "seconds")),
    "server": ("Servers that were ready (`playbooks/health.yml`)", ("fault", "verdict", "cause", "remedy")),
}


def cell(row: Row, column: str) -> str:
    value = row.get(column)
    if value in (None, ""):
        return "-"
    if column == "seconds":
        return f"{value:.1f}"
    if column == "cause":
        return f"[`{value}`](../troubleshooting.md#{value})"
    return " ".join(str(value).split()).replace("|", "\\|")


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    head = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join(" --: " if c == "seconds" else " --- " for c in columns) + "|",
    ]
    return "\n".join([*head, *("| " + " | ".join(cell(row, column) for column in columns) + " |" for row in rows)])


def tables(seen: Sequence[Row]) -> str:
    parts = []
    for kind, (title, columns) in KINDS.items():
        rows = [row for row in seen if row["kind"] == kind]
        parts.append(f"## {title}\n\n{table(rows, columns)}")
    return "\n\n".join(parts)


def fill(text: str, content: str) -> str:
    """The text with everything between the two markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"needs one line {BEGIN} and, after it, one line {END}")
    return f"{text.split(BEGIN)[0]}{BEGIN}\n\n{content}\n\n{END}{text.split(END)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the tables of docs/reference/faults.md.")
    parser.add_argument("--seen", type=Path, default=ROOT / ".cache" / "faults.json")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "docs" / "reference" / "faults.md")
    arguments = parser.parse_args()
    try:
        seen = json.loads(arguments.seen.read_text())
        arguments.file.write_text(fill(arguments.file.read_text(), tables(seen)))
    except FileNotFoundError as problem:
        print(f"{problem.filename}: is not there; the journey faults writes it", file=sys.stderr)
        return 1
    except ValueError as problem:
        print(f"{arguments.file}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
