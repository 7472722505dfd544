# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log_lines import SINCE, select

PRINTED = """\
of a line whose beginning was cut off
2026-11-29T05:01:02.123456789Z (APIServer pid=1) INFO 11-29 05:01:02 [launcher.py:186] Available routes are:
2026-11-29T05:01:03.5Z \x1b[31mERROR\x1b[0m 11-29 05:01:03 [core.py:1510] RuntimeError: 2026-11-29T05:00:00Z
2026-11-29T05:01:04Z Loading:   0%|\rLoading: 100%|
2026-11-29T05:01:05.000000001Z \

2026-11-29T05:01:06.000000001Z INFO:     Application startup complete.
"""


def test_lines_have_a_time_and_no_control_characters() -> None:
    lines = select(PRINTED, None, 100)
    assert [line.time[-2:] for line in lines] == ["02", "03", "04", "06"]
    assert lines[1].text == "ERROR 11-29 05:01:03 [core.py:1510] RuntimeError: 2026-11-29T05:00:00Z"
    assert all(character >= " " for line in lines for character in line.text.replace("\n", " "))


def test_a_pattern_and_a_number_choose() -> None:
    assert [line.time[-2:] for line in select(PRINTED, re.compile("INFO"), 100)] == ["02", "06"]
    assert [line.time[-2:] for line in select(PRINTED, re.compile("INFO"), 1)] == ["06"]


@pytest.mark.parametrize("since", ["10m", "1h30m", "90s", "2026-11-29", "2026-11-29T05:00", "2026-11-29T05:00:09"])
def test_spans_and_times(since: str) -> None:
    assert SINCE.fullmatch(since)


@pytest.mark.parametrize("since", ["", "yesterday", "10", "2d", "-1h", "2026-11-29 05:00", "1h; reboot", "١h"])
def test_nothing_else(since: str) -> None:
    assert not SINCE.fullmatch(since)
