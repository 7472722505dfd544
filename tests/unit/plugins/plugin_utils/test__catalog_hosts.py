# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.hosts import host_faults

KNOWN: list[dict[str, t.Any]] = [
    {"kernel": "6.1-bad*", "what": "It panics.", "remedy": "Upgrade."},
    {"kernel": "7.*", "driver": "590.*", "what": "Both.", "remedy": "Other."},
    {"driver": "600.1", "what": "A pair fails.", "remedy": "Other.", "only_with": {"nnodes": "*"}},
]


def host(kernel: str | None, driver: str | None) -> dict[str, t.Any]:
    return {"os": {"kernel": kernel}, "gpu": {"driver": driver} if driver else None}


@pytest.mark.parametrize(
    ("kernel", "driver", "settings", "what"),
    [
        ("6.1-bad-64k", "580.1", {}, ["kernel 6.1-bad-64k: It panics"]),
        ("6.1", "580.1", {}, []),
        ("7.1", "590.48", {}, ["kernel 7.1 and driver 590.48: Both"]),
        ("7.1", "580.1", {}, []),
        ("7.1", None, {}, []),
        ("6.1", "600.1", {}, []),
        ("6.1", "600.1", {"nnodes": 2}, ["driver 600.1: A pair fails"]),
        (None, None, {}, []),
    ],
)
def test_what_is_bad(kernel: str | None, driver: str | None, settings: dict[str, t.Any], what: list[str]) -> None:
    assert [fault["what"] for fault in host_faults(KNOWN, host(kernel, driver), settings)] == what


def test_a_host_that_was_not_read() -> None:
    assert host_faults(Catalog().hosts(), {}, {}) == []


def test_the_known_ones() -> None:
    known = Catalog().hosts()
    (found,) = host_faults(known, host("7.0.0-1019-nvidia", "580.173.02"), {"nnodes": 2})
    assert "kho=off" in found["remedy"]
    assert host_faults(known, host("7.0.0-1019-nvidia", "580.173.02"), {}) == []
    assert host_faults(known, host("6.17.0-1032-nvidia", "580.173.02"), {"nnodes": 2}) == []
