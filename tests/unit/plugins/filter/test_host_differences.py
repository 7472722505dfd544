# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter: what it takes, what it rejects. test__common_host_state.py has the comparisons."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.filter.host_differences import FilterModule

host_differences = FilterModule().filters()["host_differences"]


def test_lines() -> None:
    assert host_differences({"sysctl": {"a.b": "1"}}, {"sysctl": {"a.b": 2}}) == ["a.b is 1, not 2"]


@pytest.mark.parametrize(
    ("spark", "wanted", "said"),
    [
        (None, {}, "input must be a mapping, not NoneType"),
        ({}, ["x"], "wanted must be a mapping, not list"),
        ({}, {"unit": {}}, "unit cannot be compared; use packages, commands, files, sysctl, units"),
    ],
)
def test_errors(spark: t.Any, wanted: t.Any, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"host_differences: {said}"):
        host_differences(spark, wanted)
