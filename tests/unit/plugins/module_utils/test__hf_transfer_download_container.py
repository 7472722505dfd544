# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The name of the container of a download, and the answer of the client in it."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import download_container

MODEL = "org/name"


def test_one_name_for_one_model_in_one_cache(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    name = download_container.container_name(str(tmp_path / "a"), MODEL)
    assert re.fullmatch(r"dgxspark-download-[0-9a-f]{12}", name)
    assert download_container.container_name(str(tmp_path / "link"), MODEL) == name
    assert download_container.container_name(str(tmp_path / "a"), "org/other") != name
    assert download_container.container_name(str(tmp_path / "b"), MODEL) != name


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('noise\n\n{"done": {"commit": "c"}}\n', {"done": {"commit": "c"}}),
        ('{"errors": ["a"]}\n{"other": 1}\nTraceback', {"errors": ["a"]}),
        ("{broken\n", {}),
        ('{"done": ' + "[" * 100_000, {}),
        ("", {}),
    ],
)
def test_answer(output: str, expected: dict[str, t.Any]) -> None:
    assert download_container.answer_of(output) == expected
