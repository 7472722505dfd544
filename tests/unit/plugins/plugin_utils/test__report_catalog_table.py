# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog as a table."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.catalog_table import (
    about,
    planned,
    terminal,
    tokens,
)
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet_table import WIDTH

MINE: dict[str, t.Any] = {
    "id": "a/b",
    "weights_bytes": 15_000_000_000,
    "layers": 1,
    "kv_heads": 1,
    "head_dim": 8,
    "native_context": 4000,
}
PLAN = {"fits": True, "kv_tokens": 623000, "max_context": 131072, "sequences": 19.04}


@pytest.mark.parametrize(("number", "text"), [(32768, "32K"), (4000, "4,000"), (0, "0"), (1048576, "1024K")])
def test_tokens(number: int, text: str) -> None:
    assert tokens(number) == text


def test_every_figure_keeps_its_mark() -> None:
    assert about(Catalog().model("qwen3-30b-a3b-fp8")) == [
        "qwen3-30b-a3b-fp8",
        "Qwen/Qwen3-30B-A3B-Instruct-2507-FP8",
        "31.15 GB C",
        "256K",
        "51 M",
        "81.1 C",
        "Apache-2.0",
    ]
    assert about(Catalog().model("qwen3-8b-fp8"))[3:6] == ["32K (128K)", "-", "33.3 C"]


def test_a_model_of_the_user_needs_no_sources() -> None:
    assert about(Catalog().model("mine", {"mine": MINE}))[2:] == ["15 GB ?", "4,000", "-", "-", "-"]


@pytest.mark.parametrize(
    ("plan", "cannot", "cells"),
    [
        (PLAN, None, ["yes", "623,000", "128K", "19.0"]),
        (PLAN, "too old", ["no, image", "623,000", "128K", "19.0"]),
        ({**PLAN, "fits": False, "kv_tokens": 0, "max_context": 0}, None, ["no", "0", "0", "-"]),
        (None, None, ["-", "-", "-", "-"]),
        (None, "too old", ["no, image", "-", "-", "-"]),
    ],
)
def test_planned(plan: dict[str, t.Any] | None, cannot: str | None, cells: list[str]) -> None:
    assert planned({"image_cannot_run": cannot}, plan) == cells


def test_the_whole_catalog_is_no_wider_than_the_table_of_a_fleet() -> None:
    models = [{**Catalog().model(name), "image_cannot_run": "too old"} for name in Catalog().models()]
    plan = {**PLAN, "kv_tokens": 10_000_000, "max_context": 262143}
    assert max(map(len, terminal(models, {model["name"]: plan for model in models}).splitlines())) <= WIDTH


def test_a_gate_is_told() -> None:
    gated = {"mine": {**MINE, "gated": True, "license": "Meta"}}
    assert about(Catalog().model("mine", gated))[-1] == "gated, Meta"


def test_on_a_terminal_columns_are_aligned() -> None:
    models = [Catalog().model(name) for name in ("qwen3-8b-fp8", "llama33-70b-fp8")]
    head, *lines = terminal(models, {"qwen3-8b-fp8": PLAN}).splitlines()
    assert [line.split()[0] for line in lines] == ["qwen3-8b-fp8", "llama33-70b-fp8"]
    for title in ("fits?", "license", "context"):
        assert all(line[head.index(title) - 1] == " " != line[head.index(title)] for line in lines)
    assert lines[0][head.index("fits?") :].startswith("yes")
    assert terminal([], {}).split()[0] == "model"


@pytest.mark.parametrize("width", [80, 110, 140])
def test_a_narrow_terminal_has_fewer_columns(width: int) -> None:
    models = [Catalog().model(name) for name in Catalog().models()]
    lines = terminal(
        models, {}, {model["name"]: "nvcr.io/nvidia/vllm:25.09-py3" for model in models}, width
    ).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split()[0] == "model"
    assert "fits?" in lines[0]
