# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done in turn is all done in so many turns, each case once; everything else always."""

from __future__ import annotations

import typing as t
from unittest import mock

import pytest

from support import turns

CASES = [f"test_a.py::test_many[{number}]" for number in range(10)]
OTHERS = ["test_a.py::test_one", "test_a.py::test_table[1]", "test_a.py::test_table[2]"]


def kept(turn: int | None, *marks: t.Any, **options: t.Any) -> tuple[list[str], list[str]]:
    """What is run and what is left out."""
    config = mock.Mock()
    config.getoption.return_value = turn
    items = [mock.Mock(nodeid=name) for name in CASES + OTHERS]
    for item in items:
        mark = pytest.mark.in_turn(*marks, **options).mark if item.nodeid in CASES else None
        item.get_closest_marker.return_value = mark
    turns.pytest_collection_modifyitems(config, items)  # type: ignore[arg-type]
    left = config.hook.pytest_deselected.call_args
    return [item.nodeid for item in items], [item.nodeid for item in left.kwargs["items"]] if left else []


@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("first", [0, 1])
def test_each_case_has_its_turn(parts: int, first: int) -> None:
    runs = [kept(turn, parts, first=first) for turn in range(1380, 1380 + parts)]
    for run, left in runs:
        assert [name for name in run if name in OTHERS] == OTHERS
        assert sorted(run + left) == sorted(CASES + OTHERS)
    assert sorted(name for run, _left in runs for name in run if name in CASES) == CASES


def test_all_of_them_without_a_turn() -> None:
    assert kept(None, 4) == (CASES + OTHERS, [])
