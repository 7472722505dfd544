# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the comparison of models into README.md, from the catalog.

models_table.py [--check] [FILE]     --check changes nothing and fails if FILE is not up to date
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.catalog_table import markdown

BEGIN = "<!-- models:begin -->"
END = "<!-- models:end -->"


def fill(text: str) -> str:
    """The text with everything between the two markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"needs one line {BEGIN} and, after it, one line {END}")
    catalog = Catalog()
    table = markdown([catalog.model(name) for name in catalog.models()])
    return f"{text.split(BEGIN)[0]}{BEGIN}\n\n{table}\n\n{END}{text.split(END)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the comparison of models into README.md.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the file is not up to date")
    parser.add_argument("file", type=Path, nargs="?", default=Path(__file__).resolve().parent.parent / "README.md")
    arguments = parser.parse_args()
    before = arguments.file.read_text()
    try:
        after = fill(before)
    except ValueError as problem:
        print(f"{arguments.file}: {problem}", file=sys.stderr)
        return 1
    if before == after:
        return 0
    if arguments.check:
        print(f"{arguments.file}: the table of models is out of date; run: make docs", file=sys.stderr)
        return 1
    arguments.file.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
