# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the role benchmark. One line for each problem."""

from __future__ import annotations

import re

from .._catalog.catalog import Catalog
from .._common.text import hint, show
from .._common.types import TypedValues
from .common import WEEK, Lines, at_least, matches, texts

# Fields of a cell, with their smallest value.
_LEAST = {"concurrency": 1, "prompts": 1, "input_tokens": 1, "output_tokens": 1, "prefix_tokens": 0}
_OPTIONAL = ("prefix_tokens",)


def benchmark(checked: TypedValues, catalog: Catalog) -> Lines:
    yield from at_least(checked, "benchmark_repetitions", 1, "run", 1000)
    yield from at_least(checked, "benchmark_timeout", 30, "seconds", WEEK)
    yield from at_least(checked, "benchmark_settle_seconds", 0, "seconds", WEEK)
    yield from at_least(checked, "benchmark_cool_celsius", 1, "°C", 100)
    yield from at_least(checked, "benchmark_ttft_ms", 0, "milliseconds")
    yield from at_least(checked, "benchmark_tpot_ms", 0, "milliseconds")
    yield from texts(checked, "benchmark_profiles")
    if checked.valid("benchmark_profiles") and not checked["benchmark_profiles"]:
        yield "benchmark_profiles: [] is not allowed; use names of profiles, such as throughput and latency"
    yield from matches(checked, "benchmark_folder", r"[^\r\n\0]+", "a folder on the controller, such as benchmarks")
    if checked.valid("benchmark_cells"):
        names: list[object] = []
        for number, cell in enumerate(checked["benchmark_cells"]):
            where = f"benchmark_cells[{number}]"
            if not isinstance(cell, dict):
                yield f"{where}: {show(cell)} is not allowed; use a mapping with name, {', '.join(_LEAST)}"
                continue
            yield from _cell(where, cell)
            if cell.get("name") in names:
                yield f"{where}.name: {show(cell['name'])} is there twice; give each cell a name of its own"
            names.append(cell.get("name"))


def _cell(where: str, cell: dict[str, object]) -> Lines:
    for field in cell:
        if field != "name" and field not in _LEAST:
            yield f"{where}.{field}: unknown field; {hint(field, ['name', *_LEAST])}"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,20}", str(cell.get("name", ""))):
        yield f"{where}.name: {show(cell.get('name'))} is not allowed; use 1 to 20 letters, digits and . _ -"
    numbers: dict[str, int] = {}
    for field, low in _LEAST.items():
        value = cell.get(field)
        if value is None and field in _OPTIONAL:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            yield f"{where}.{field}: {show(value)} is not allowed; use a whole number, {low} or more"
        else:
            numbers[field] = value
    prompts, concurrency = numbers.get("prompts"), numbers.get("concurrency", 0)
    if prompts is not None and prompts < concurrency:
        yield f"{where}.prompts: {prompts} is less than the concurrency; use {concurrency} or more"
