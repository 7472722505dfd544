# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest: of a test that does one thing at many places, a part with each commit."""

from __future__ import annotations

from collections import Counter

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--turn", type=int, help="of the tests in turn, those of this run: a number; without it all")


def pytest_report_header(config: pytest.Config) -> str | None:
    turn = config.getoption("turn")
    return None if turn is None else f"turn {turn}: of the tests marked in_turn a part; without --turn all of them"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a parametrized test that is marked in_turn, every so-manyth case: with each --turn others."""
    turn = config.getoption("turn")
    if turn is None:
        return
    seen: Counter[str] = Counter()
    kept, left = [], []
    for item in items:
        mark = item.get_closest_marker("in_turn")
        parts, first = (mark.args[0], mark.kwargs.get("first", 0)) if mark else (1, 0)
        name = item.nodeid.partition("[")[0]
        (left if (seen[name] - turn - first) % parts else kept).append(item)
        seen[name] += 1
    items[:] = kept
    config.hook.pytest_deselected(items=left)
