# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.dgxspark.vllm.plugins.filter.one_line import FilterModule


def test_one_line() -> None:
    one_line = FilterModule().filters()["one_line"]
    assert one_line("Error:\r\n  \x1b]0;owned\x07\x1b[31mno\x1b[0m\tsuch\u202e image\x9b2J\n") == "Error: no such image"
    assert one_line(5) == "5"
