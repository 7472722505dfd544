# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.tools import variables_table


@pytest.mark.parametrize(
    ("markup", "markdown"),
    [
        ("Set O(vllm_model), not V(null).", "Set `vllm_model`, not `null`."),
        ("The lookup P(dgxspark.vllm.model#lookup) lists them.", "The lookup `dgxspark.vllm.model` lists them."),
        ("See L(the manual, https://docs.vllm.ai).", "See [the manual](https://docs.vllm.ai)."),
        ("C(a | b) in  two\nlines", "`a \\| b` in two lines"),
        ("GPU(s) stay", "GPU(s) stay"),
    ],
)
def test_plain(markup: str, markdown: str) -> None:
    assert variables_table.plain(markup) == markdown


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ({"default": ""}, '`""`'),
        ({"default": {}}, "`{}`"),
        ({"default": False}, "`false`"),
        ({"default": "/opt/hf"}, "`/opt/hf`"),
        ({"default": "{{ a | b }}"}, "`{{ a \\| b }}`"),
        ({}, "*unset*"),
    ],
)
def test_default_of(option: dict, shown: str) -> None:
    assert variables_table.default_of(option) == shown


def test_a_table_says_everything_about_a_variable() -> None:
    spec = {"options": {"vllm_gpu": {"default": "auto", "choices": ["auto", "cdi"], "description": ["The GPU."]}}}
    assert "| `vllm_gpu` | str | `auto` | The GPU. One of `auto`, `cdi`. |" in variables_table.table(spec)


SPEC = {"argument_specs": {"main": {"options": {"one_port": {"type": "int", "default": 1, "description": "A port."}}}}}


def test_each_role_gets_its_own_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one" / "meta").mkdir(parents=True)
    (tmp_path / "one" / "meta" / "argument_specs.yml").write_text(yaml.safe_dump(SPEC))
    page = tmp_path / "one" / "README.md"
    page.write_text(f"before\n{variables_table.BEGIN}\nold\n{variables_table.END}\nafter\n")

    monkeypatch.setattr(sys, "argv", ["variables_table.py", "--check", str(tmp_path)])
    assert variables_table.main() == 1
    assert "out of date; run: make docs" in capsys.readouterr().err
    assert "old" in page.read_text()

    monkeypatch.setattr(sys, "argv", ["variables_table.py", str(tmp_path)])
    assert variables_table.main() == 0
    assert "| `one_port` | int | `1` | A port. |" in page.read_text()

    monkeypatch.setattr(sys, "argv", ["variables_table.py", "--check", str(tmp_path)])
    assert variables_table.main() == 0

    page.write_text("no markers")
    assert variables_table.main() == 1
    assert "needs one line" in capsys.readouterr().err


def test_fill_replaces_only_what_is_between_the_markers() -> None:
    text = f"before\n{variables_table.BEGIN}\nold\n{variables_table.END}\nafter\n"
    once = variables_table.fill(text, "new")
    assert once == f"before\n{variables_table.BEGIN}\n\nnew\n\n{variables_table.END}\nafter\n"
    assert variables_table.fill(once, "new") == once


@pytest.mark.parametrize("text", ["", variables_table.BEGIN, f"{variables_table.END}\n{variables_table.BEGIN}"])
def test_fill_refuses_a_file_without_its_markers(text: str) -> None:
    with pytest.raises(ValueError, match="variables:begin"):
        variables_table.fill(text, "new")
