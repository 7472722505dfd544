# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for the variables of the role benchmark, and the cells of its own modes."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.benchmark import Cell, cell_problem
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import problems

from support.paths import ROOT

KNOWN = options_of("benchmark")
VARIABLES = yaml.safe_load((ROOT / "roles" / "benchmark" / "vars" / "main.yml").read_text())
MODES: dict[str, list[dict[str, t.Any]]] = VARIABLES["__benchmark_modes"]
CELL = {"name": "c8", "concurrency": 8, "prompts": 32, "input_tokens": 128, "output_tokens": 256}


def lines(**values: t.Any) -> list[str]:
    return problems("benchmark", values, KNOWN, Catalog())


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"benchmark_mod": "quick"}, "benchmark_mod: unknown variable; did you mean benchmark_mode?"),
        ({"benchmark_mode": "fast"}, 'benchmark_mode: "fast" is not allowed; use quick, guide, arena, nvidia'),
        ({"benchmark_repetitions": 0}, "benchmark_repetitions: 0 is not allowed; use at least 1 run"),
        ({"benchmark_timeout": 10}, "benchmark_timeout: 10 is not allowed; use at least 30 seconds"),
        (
            {"benchmark_folder": ""},
            'benchmark_folder: "" is not allowed; use a folder on the controller, such as benchmarks',
        ),
        ({"benchmark_cells": ["c8"]}, 'benchmark_cells[0]: "c8" is not allowed; use a mapping with name,'),
        (
            {"benchmark_cells": [{**CELL, "input_token": 8}]},
            "benchmark_cells[0].input_token: unknown field; did you mean input_tokens?",
        ),
        ({"benchmark_cells": [{**CELL, "name": "a/b"}]}, 'benchmark_cells[0].name: "a/b" is not allowed; use 1 to 20'),
        (
            {"benchmark_cells": [{**CELL, "prompts": "8"}]},
            'benchmark_cells[0].prompts: "8" is not allowed; use a whole',
        ),
        (
            {"benchmark_cells": [{**CELL, "prompts": 4}]},
            "benchmark_cells[0].prompts: 4 is less than the concurrency; use 8",
        ),
        (
            {"benchmark_cells": [CELL, CELL]},
            'benchmark_cells[1].name: "c8" is there twice; give each cell a name of its own',
        ),
    ],
)
def test_bad_values(values: dict[str, t.Any], line: str) -> None:
    (found,) = lines(**values)
    assert found.startswith(line)


def test_good_values() -> None:
    assert lines(benchmark_cells=[CELL, {**CELL, "name": "p", "prefix_tokens": 2048}], benchmark_mode="arena") == []


def test_every_mode_has_its_cells_and_they_are_good() -> None:
    assert set(MODES) == set(KNOWN["benchmark_mode"]["choices"])
    for cells in MODES.values():
        assert lines(benchmark_cells=cells) == []
        assert [cell_problem(Cell(**cell)) for cell in cells] == [None] * len(cells)


def test_the_published_cells() -> None:
    arena = {(cell.get("prefix_tokens", 0), cell["concurrency"]) for cell in MODES["arena"]}
    assert arena == {(depth, number) for depth in (0, 8192, 32768) for number in (1, 5, 10)}
    assert {(cell["input_tokens"], cell["output_tokens"]) for cell in MODES["arena"]} == {(2048, 128)}
    assert [(c["concurrency"], c["input_tokens"], c["output_tokens"]) for c in MODES["nvidia"]] == [(1, 8192, 256)]
    assert [c["concurrency"] for c in MODES["guide"] if c["input_tokens"] == 128][:4] == [1, 8, 32, 64]
