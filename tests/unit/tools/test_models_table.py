# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of models in README.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.tools import models_table


def test_fill_and_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{models_table.BEGIN}\nold\n{models_table.END}\nafter\n")

    monkeypatch.setattr(sys, "argv", ["models_table.py", "--check", str(page)])
    assert models_table.main() == 1
    assert "out of date; run: make docs" in capsys.readouterr().err
    assert "old" in page.read_text()

    monkeypatch.setattr(sys, "argv", ["models_table.py", str(page)])
    assert models_table.main() == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| `qwen3-8b-fp8` | `Qwen/Qwen3-8B-FP8` | 9.44 GB C |" in text

    monkeypatch.setattr(sys, "argv", ["models_table.py", "--check", str(page)])
    assert models_table.main() == 0


@pytest.mark.parametrize("text", ["", models_table.BEGIN, f"{models_table.END}{models_table.BEGIN}"])
def test_a_file_without_the_markers(text: str) -> None:
    with pytest.raises(ValueError, match="needs one line"):
        models_table.fill(text)
