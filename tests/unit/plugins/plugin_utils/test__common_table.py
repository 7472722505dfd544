# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables within the width of a terminal: which columns go, which one wraps, and no word is broken."""

from __future__ import annotations

from operator import itemgetter

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.table import Column, fitting, table, wrapped
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet_table, releases

from support.fleet import sixteen

COLUMNS = (
    Column("host", itemgetter("host"), right=False),
    Column("size", itemgetter("size")),
    Column("why", itemgetter("why"), right=False, wraps=True),
)
ROWS = [
    {"host": "spark01", "size": "7", "why": "ok"},
    {"host": "spark02", "size": None, "why": "no answer from 192.168.101.2: is it the cable, or the other port?"},
]


def test_the_last_column_wraps_below_itself() -> None:
    assert table(ROWS, COLUMNS, 45).splitlines() == [
        "host     size  why",
        "spark01     7  ok",
        "spark02     -  no answer from 192.168.101.2:",
        "               is it the cable, or the other",
        "               port?",
    ]
    assert table(ROWS, COLUMNS, 160).splitlines()[-1] == f"spark02     -  {ROWS[1]['why']}"


@pytest.mark.parametrize(
    ("width", "titles"), [(160, ["host", "size", "why"]), (38, ["host", "why"]), (20, ["host", "why"])]
)
def test_the_columns_that_a_narrow_terminal_does_without(width: int, titles: list[str]) -> None:
    assert [column.title for column in fitting(ROWS, COLUMNS, ["size"], width)] == titles


def test_a_column_without_anything_goes_before_text_is_shortened() -> None:
    columns = [
        Column("host", itemgetter("host"), right=False),
        Column("model", itemgetter("model"), right=False, may_shrink=True),
        *(Column(title, itemgetter(title)) for title in ("us", "ms", "C")),
    ]
    row = {"host": "spark02-vllm-two", "model": "Qwen/Qwen3-Coder-30B", "us": "3", "ms": None, "C": "-"}
    widths = {160: "us ms C", 49: "us ms C", 48: "us C", 44: "us", 36: "us", 30: ""}
    for width, titles in widths.items():
        left = fitting([row, row], columns, ["us", "ms"], width)
        assert [column.title for column in left] == ["host", "model", *titles.split()], width
        whole = "Qwen/Qwen3-Coder-30B" in table([row, row], left, width)
        assert whole is (width > 40), width
        assert table([row, row], left, width).count("spark02-vllm-two") == 2


@pytest.mark.parametrize("width", [80, 100, 110, 160])
def test_the_name_of_a_host_is_whole(width: int) -> None:
    """It is the key for -l."""
    name = "spark02-qwen3-coder-vllm-two"
    hosts = [{**host, "host": name} for host in sixteen().report()["hosts"][:3]]
    of_the_fleet = fleet_table.table(hosts, fleet_table.fitting(hosts, width), width)
    for text in (of_the_fleet, releases.table({name: sixteen().releases["spark01"]}, {}, width)):
        assert [line.split()[0] for line in text.splitlines()[1:]] == [name] * 3
        assert max(map(len, text.splitlines())) <= width


def test_text_is_wrapped_between_words() -> None:
    text = "a | a-b-c /opt/vllm/current\n    remedy: look at http://127.0.0.1:8000/a-very-long-path"
    assert wrapped(text, None) == text
    assert wrapped(text, 30).splitlines() == [
        "a | a-b-c /opt/vllm/current",
        "    remedy: look at",
        "        http://127.0.0.1:8000/a-very-long-path",  # what is one word stays one, to be copied
    ]


@pytest.mark.parametrize("width", [80, 110])
def test_the_report_on_a_fleet_is_within_the_terminal(width: int) -> None:
    report = sixteen().report()
    text = fleet_table.render(report, width, wraps=True)
    assert max(map(len, text.splitlines())) <= width
    assert text.split() and "…" not in text.split("\n\n")[-1]
    names = [host["host"] for host in report["hosts"]]
    assert [row.split()[0] for row in text.split("\n\n")[0].splitlines()[1:]] == names
    # the same words as in a file, whose lines have any length
    assert text.split("\n\n", 1)[1].split() == fleet_table.render(report, width).split("\n\n", 1)[1].split()
