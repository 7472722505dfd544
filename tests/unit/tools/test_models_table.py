# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/models.md, written from the catalog."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.tools import models_table

PAGE = models_table.page()


def test_write_and_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "models.md"
    page.write_text("old")

    monkeypatch.setattr(sys, "argv", ["models_table.py", "--check", str(page)])
    assert models_table.main() == 1
    assert "out of date; run: make docs" in capsys.readouterr().err
    assert page.read_text() == "old"

    monkeypatch.setattr(sys, "argv", ["models_table.py", str(page)])
    assert models_table.main() == 0
    assert page.read_text() == PAGE

    monkeypatch.setattr(sys, "argv", ["models_table.py", "--check", str(page)])
    assert models_table.main() == 0


def test_the_table_to_choose_from_has_every_model_once_and_five_columns() -> None:
    (table,) = re.findall(r"(?m)^\| model \|.*\n(?:\|.*\n)+", PAGE)
    rows = table.splitlines()
    assert [row.count("|") for row in rows] == [6] * len(rows)
    assert re.findall(r"(?m)^\| \[`([^`]+)`\]\(#\1\)", table) == list(Catalog().models())


def test_every_model_has_a_section_that_names_the_source_of_its_figures() -> None:
    for name, entry in Catalog().models().items():
        (section,) = re.findall(rf"(?ms)^## {re.escape(name)}\n(.*?)(?=^## |\Z)", PAGE)
        assert f"https://huggingface.co/{entry['id']}" in section
        assert entry["sources"]["weights_bytes"] in section
        if "tokens_per_second" in entry:
            assert (
                f"| Published speed | {entry['tokens_per_second']:g} tokens/s | {entry['sources']['tokens_per_second']}"
                in section
            )


@pytest.mark.parametrize(
    ("model", "fits"),
    [
        ("qwen3-8b-fp8", "32K, 21 at once"),
        ("llama33-70b-fp8", "122,656, 1 at once"),  # of 131,072, which do not fit
        ("gpt-oss-120b", "128K, 7 at once"),  # with the kernel that its image needs, which pads the weights
        ("qwen38-27b-nvfp4", "256K, 6 at once"),  # with the drafts that its image brings
    ],
)
def test_what_fits_is_what_the_memory_plan_says(model: str, fits: str) -> None:
    assert models_table.fits(Catalog().model(model), Catalog()) == fits


def test_a_model_that_does_not_fit_at_all_says_so() -> None:
    entry = {**Catalog().model("qwen3-8b-fp8"), "weights_bytes": 200_000_000_000}
    assert models_table.fits(entry, Catalog()) == "no"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"tokens_per_second": 51, "roofline": 81.1}, "published 51, limit 81.1"),
        ({"roofline": 8.34}, "limit 8.34"),
        ({}, "-"),
    ],
)
def test_speed(entry: dict[str, float], told: str) -> None:
    assert models_table.speed(entry) == told


def test_a_gated_model_says_what_it_needs() -> None:
    entry = {**Catalog().model("qwen3-8b-fp8"), "gated": True}
    assert "Gated: it needs `vllm_hf_token`" in "\n".join(models_table.details(entry))
