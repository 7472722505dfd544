# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.filter.merge_daemon_json import FilterModule
from hypothesis import given
from hypothesis import strategies as st

merge = FilterModule().filters()["merge_daemon_json"]

OWNER: dict[str, t.Any] = {
    "log-driver": "journald",
    "insecure-registries": ["one:5000", "two:5000"],
    "log-opts": {"tag": "{{.Name}}", "labels": "a"},
    "live-restore": True,
}
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
# Every key has its own kind, so that two files never contradict each other.
FILES = st.fixed_dictionaries(
    {},
    optional={
        "log-level": SCALARS,
        "dns": st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3"]), unique=True),
        "features": st.dictionaries(st.sampled_from(["cdi", "buildkit"]), st.booleans()),
    },
)


def test_owner_keeps_every_key_and_the_order() -> None:
    merged = merge(OWNER, {"log-opts": {"labels": "b"}, "insecure-registries": ["three:5000", "one:5000"]})
    assert merged == {
        "log-driver": "journald",
        "insecure-registries": ["one:5000", "two:5000", "three:5000"],
        "log-opts": {"tag": "{{.Name}}", "labels": "b"},
        "live-restore": True,
    }
    assert list(merged) == list(OWNER)


def test_input_is_not_touched() -> None:
    before = copy.deepcopy(OWNER)
    merge(OWNER, {"log-opts": {"mode": "non-blocking"}, "insecure-registries": ["three:5000"]})
    assert before == OWNER


def test_options_that_are_there_change_nothing() -> None:
    # combine(list_merge='append_rp') would move one:5000 to the end, and Docker would be restarted for it
    assert merge(OWNER, {"insecure-registries": ["one:5000"]}) == OWNER


def test_null_in_the_file_counts_as_absent() -> None:
    assert merge({"dns": None}, {"dns": ["192.0.2.1"]}) == {"dns": ["192.0.2.1"]}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"insecure-registries": "one:5000"}, "insecure-registries must be a list, .* it is a single value"),
        ({"log-opts": ["tag"]}, "log-opts must be a mapping, .* it is a list"),
        ({"log-opts": {"tag": ["x"]}}, r"log-opts\.tag must be a single value, .* it is a list"),
        ("{}", "options must be a mapping, not str"),
    ],
)
def test_contradiction_is_one_line(options: t.Any, complaint: str) -> None:
    with pytest.raises(AnsibleFilterError, match=complaint) as error:
        merge(OWNER, options)
    assert "\n" not in str(error.value)


@given(FILES, FILES)
def test_merging_twice_is_merging_once(current: dict[str, t.Any], options: dict[str, t.Any]) -> None:
    once = merge(current, options)
    assert merge(once, options) == once


@given(FILES, FILES)
def test_nothing_is_lost(current: dict[str, t.Any], options: dict[str, t.Any]) -> None:
    merged = merge(current, options)
    assert current.keys() | options.keys() == merged.keys()
    assert set(current.get("dns") or []) | set(options.get("dns") or []) == set(merged.get("dns") or [])
    assert (current.get("features") or {}).keys() <= (merged.get("features") or {}).keys()
