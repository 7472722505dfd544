# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit that leaves lost hosts out."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.go_on import go_on


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [("", "!b,!c"), ("rack1", "rack1,!b,!c"), ("rack1:c", "rack1:c:!b:!c"), ("a,b,c", "a"), ("a:b:c", "a")],
)
def test_how_to_go_on_keeps_the_hosts_that_were_chosen(limit: str, wanted: str) -> None:
    """A second -l replaces the first one: -l rack1 -l '!b' would deploy every other host of the inventory."""
    assert go_on(["b", "c"], ["a"], limit) == f"To go on without them: run the command with -l '{wanted}'."


def test_one_host_is_it() -> None:
    assert go_on(["b"], ["a"]) == "To go on without it: run the command with -l '!b'."


def test_a_fault_that_the_others_may_have_too() -> None:
    told = "To go on without it, if the others do not have the same fault: run the command with -l '!b'."
    assert go_on(["b"], ["a"], may_be_common=True) == told


def test_there_is_nothing_to_go_on_with() -> None:
    assert go_on(["b"], []) == go_on([], ["a"]) == ""
