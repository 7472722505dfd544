# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.log_lines import text

HOSTS: dict[str, dict[str, t.Any] | None] = {
    "spark02": {"container": "x", "lines": [{"time": "2026-11-29T05:01:02", "text": "second"}]},
    "spark01": {
        "container": "x",
        "lines": [
            {"time": "2026-11-29T05:01:01", "text": "first"},
            {"time": "2026-11-29T05:01:03", "text": "third\x1b[2J"},
        ],
    },
    "quiet": {"container": "x", "lines": []},
    "empty": {"container": None, "lines": []},
    "dead": None,
}


def test_one_log_of_all_hosts_and_a_line_for_each_that_has_nothing() -> None:
    assert text(HOSTS, {"dead": "no route\nto host"}).splitlines() == [
        "spark01  2026-11-29T05:01:01  first",
        "spark02  2026-11-29T05:01:02  second",
        "spark01  2026-11-29T05:01:03  third",
        "quiet    has no such line",
        "empty    has no container of this service",
        "dead     not read: no route to host",
    ]
