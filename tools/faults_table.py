# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the tables of docs/reference/faults.md: each fault of the journey `faults`, with what its runs recorded.

faults_table.py [--check] [--seen FILE] [FILE]     --check changes nothing and fails if FILE is not up to date

A run takes a part of the faults in turn (.cache/faults.json), so what the page has of the others stays.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
JOURNEY = ROOT / "tests" / "journeys" / "faults"
BEGIN = "<!-- faults:begin -->"
END = "<!-- faults:end -->"
NOT_RECORDED = "not recorded"

Row = Mapping[str, Any]
KINDS = {
    "start": ("Starts (`playbooks/deploy.yml`)", ("fault", "verdict", "cause", "seconds")),
    "server": ("Servers that were ready (`playbooks/health.yml`)", ("fault", "verdict", "cause")),
}


def faults(journey: Path = JOURNEY) -> list[Row]:
    """The faults that the journey causes, in the order of its files, as far as the text of the files says."""
    found = [
        row
        for name in ("start_faults.py", "test_servers.py")
        for call in _calls((journey / name).read_text(encoding="utf-8"))
        if (row := _row(call))
    ]
    return [row for kind in KINDS for row in found if row["kind"] == kind]


def _calls(text: str) -> list[ast.Call]:
    return sorted((n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)), key=lambda call: call.lineno)


def _row(call: ast.Call) -> Row | None:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    values: dict[str, Any] = dict(zip(("name", "cause"), map(_constant, call.args), strict=False))
    values.update({keyword.arg: _constant(keyword.value) for keyword in call.keywords if keyword.arg})
    if name == "Fault":
        if values["cause"]:
            return {"kind": "start", "fault": values["name"], "verdict": "failed", **_only(values, "cause", "verdict")}
        return {"kind": "start", "fault": values["name"], "verdict": "refused", "cause": "", "seconds": None}
    if name == "look":
        return {"kind": "server", "fault": values["name"]}
    if name == "record" and isinstance(values["fault"], str):
        return _only(values, "kind", "fault")
    return None


def _constant(node: ast.expr) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _only(values: Row, *names: str) -> Row:
    return {name: values[name] for name in names if name in values}


def recorded(page: str) -> dict[str, Row]:
    """What the tables of the page say of each fault."""
    return {row["fault"]: row for row in _rows(page)}


def _rows(page: str) -> Iterator[Row]:
    columns: Sequence[str] = ()
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("| "):
            columns = ()
        elif not columns:
            columns = cells
        elif not cells[0].startswith("---"):
            yield {c: _value(c, cell) for c, cell in zip(columns, cells, strict=True) if cell != NOT_RECORDED}


def _value(column: str, cell: str) -> Any:
    if cell == "-":
        return None
    if column == "seconds":
        return float(cell)
    return re.sub(r"^\[`(\w+)`\].*", r"\1", cell) if column == "cause" else cell


def cell(row: Row, column: str) -> str:
    value = row.get(column, NOT_RECORDED)
    if value in (None, ""):
        return "-"
    if value == NOT_RECORDED:
        return NOT_RECORDED
    if column == "seconds":
        return f"{value:.1f}"
    return f"[`{value}`](../troubleshooting.md#{value})" if column == "cause" else str(value)


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    head = [
        "| " + " | ".join(columns) + " |",
        "| " + " | ".join("--:" if c == "seconds" else "---" for c in columns) + " |",
    ]
    return "\n".join([*head, *("| " + " | ".join(cell(row, column) for column in columns) + " |" for row in rows)])


def tables(rows: Sequence[Row]) -> str:
    parts = []
    for kind, (title, columns) in KINDS.items():
        of_kind = [row for row in rows if row["kind"] == kind]
        parts.append(f"## {title}\n\n{table(of_kind, columns)}")
    return "\n\n".join(parts)


def updated(page: str, seen: Sequence[Row], known: Sequence[Row]) -> str:
    """The page with a row for each known fault. What the journey asserts wins over what an earlier run has recorded."""
    before, now = recorded(page), {row["fault"]: row for row in seen}
    return fill(page, tables([{**before.get(row["fault"], {}), **row, **now.get(row["fault"], {})} for row in known]))


def fill(text: str, content: str) -> str:
    """The text with everything between the two markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"needs one line {BEGIN} and, after it, one line {END}")
    return f"{text.split(BEGIN)[0]}{BEGIN}\n\n{content}\n\n{END}{text.split(END)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the tables of docs/reference/faults.md.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the file is not up to date")
    parser.add_argument("--seen", type=Path, default=ROOT / ".cache" / "faults.json")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "docs" / "reference" / "faults.md")
    arguments = parser.parse_args()
    try:
        before = arguments.file.read_text()
        if arguments.check:
            if updated(before, [], faults()) != before:
                raise ValueError("out of date; run: make docs")
            return 0
        seen = json.loads(arguments.seen.read_text()) if arguments.seen.exists() else []
        arguments.file.write_text(updated(before, seen, faults()))
    except ValueError as problem:
        print(f"{arguments.file}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
