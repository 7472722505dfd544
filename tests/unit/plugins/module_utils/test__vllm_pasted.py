# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs that someone copied, and what only looks like a copy."""

from __future__ import annotations

import html
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.diagnose import diagnose
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.pasted import (
    LONGEST,
    oldest_first,
    restored,
    unescaped,
    unwrapped,
)
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm"
NAMES = (
    "n02-flashinfer-no-arch",
    "n14-ray-memory-monitor",
    "q23-ray-versions",
    "n57-attributeerror-serving",
    "q29-not-mistrals-format",
    "p9-ray-prefix-exception-lost",
)


def text(name: str) -> str:
    return (FIXTURES / "cases" / f"{name}.log").read_text()


def broken(log: str, width: int) -> str:
    pieces = (line[start : start + width] for line in log.splitlines() for start in range(0, len(line) or 1, width))
    return "".join(f"{piece}\n" for piece in pieces)


def upside_down(log: str) -> str:
    return "".join(f"{line}\n" for line in reversed(log.splitlines()))


COPIES: dict[str, t.Callable[[str], str]] = {
    "page": html.escape,
    "forum": lambda log: html.escape(log, quote=False),
    "narrow terminal": lambda log: broken(log, 80),
    "wide terminal": lambda log: broken(log, 110),
    "newest first": upside_down,
    "newest first on a page": lambda log: html.escape(upside_down(log)),
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_judged_as_the_log(name: str, copy: str) -> None:
    found, expected = diagnose(COPIES[copy](text(name)), exit_code=1), diagnose(text(name), exit_code=1)
    assert {**found, "log_lines": 0} == {**expected, "log_lines": 0}


@pytest.mark.parametrize("path", sorted(FIXTURES.rglob("*.log")), ids=lambda path: path.stem)
def test_a_log_that_nobody_copied_stays(path: Path) -> None:
    log = path.read_text()
    assert restored(log).splitlines() == log.splitlines()


@pytest.mark.parametrize(
    "log",
    [
        "<p>Ben &amp; Jerry</p>",  # a page of a proxy, as an exception quotes it
        "GET /?a=1&b=2 &lt;",
        "'x' &#39;",
    ],
)
def test_an_entity_among_what_is_not_escaped_stays(log: str) -> None:
    assert unescaped(log) == log


def test_entities() -> None:
    assert unescaped("&nbsp; File &quot;a.py&quot;, in &lt;module&gt; &amp;&amp;") == '  File "a.py", in <module> &&'


@pytest.mark.parametrize(
    "rest",
    [
        "(Worker_TP1 pid=7) ERROR 11-28 06:12:05 [a.py:1] ",  # another process writes as much
        "  File",
        "",
    ],
)
def test_lines_of_one_length_are_not_joined_with_what_is_no_rest(rest: str) -> None:
    log = "".join(f"{char * 70}\n{rest}\n" for char in "abcd")
    assert unwrapped(log) == log


def test_two_lines_that_are_as_long_by_chance() -> None:
    log = f"{'a' * 69}.\nnext\n{'b' * 69}.\nnext\n"
    assert unwrapped(log) == log


def test_a_line_that_was_broken_twice() -> None:
    log = f"{'a' * 150}\nshort\n{'b' * 90}\n"
    assert unwrapped(broken(log, 70)) == log


def test_a_space_at_the_end_of_a_line_is_not_copied() -> None:
    log = f"{'a' * 150}\nshort\n{'b' * 69} {'b' * 90}\nend\n"
    copied = "".join(f"{line.rstrip()}\n" for line in broken(log, 70).splitlines())
    assert unwrapped(copied) == log


def test_a_traceback_that_is_upside_down_counts_more_than_times() -> None:
    log = (
        "11-28 06:12:04 a\nTraceback (most recent call last):\n"
        '  File "a.py", line 3, in f\nKeyError: 1\n11-28 06:12:05 b\n11-28 06:12:04 c\n'
    )
    assert oldest_first(upside_down(log)) == log
    assert oldest_first(log) == log


def test_times_that_rise_once_are_no_order() -> None:
    log = "11-28 06:12:05 a\n11-28 06:12:04 b\n11-28 06:12:03 c\n"
    assert oldest_first(log) == upside_down(log)
    assert oldest_first(f"{log}11-28 06:12:04 d\n") == f"{log}11-28 06:12:04 d\n"
    assert oldest_first(upside_down(log)) == upside_down(log)


def test_the_times_of_several_processes_are_no_order() -> None:
    """Each has written one line, and the last of them was the first to write."""
    log = (
        "(APIServer pid=1) INFO 11-28 06:12:05 [launcher.py:61] Shutting down\n"
        "(Worker_TP1 pid=402) ERROR 11-28 06:12:04 [multiproc_executor.py:990] WorkerProc hit an exception.\n"
        "(EngineCore pid=131) ERROR 11-28 06:12:03 [core.py:1240] EngineCore encountered a fatal error.\n"
        "[2026-11-28 05:12:02] spark01:402:410 [0] NCCL WARN socketPollConnect: connect returned Connection refused\n"
    )
    assert oldest_first(log) == log
    again = log.replace("06:12:05", "06:12:06").replace("06:12:04", "06:12:05").replace("06:12:03", "06:12:04")
    assert oldest_first(log + again) == log + again
    assert oldest_first(upside_down(log + again)) == log + again
    assert oldest_first(again + log) == upside_down(again + log)


def test_a_clock_that_was_set_back() -> None:
    log = "11-28 06:12:05 a\n11-28 05:12:05 b\n11-28 05:12:05 c\n"
    assert oldest_first(log) == log


def test_a_new_year_turns_no_log() -> None:
    log = "".join(
        f"(EngineCore pid=1) INFO {time} [x.py:1] foo\n(APIServer pid=2) INFO {time} [x.py:1] foo\n"
        for time in ("12-31 23:59:59", "01-01 00:00:00")
    )
    assert restored(log) == log


def test_a_file_is_no_paste() -> None:
    log = "&lt;" * (LONGEST // 4 + 1)
    assert restored(log) == log


@settings(max_examples=50)
@given(st.text(alphabet="ab1 :-&lt;\n\r\x85", max_size=400))
def test_no_text_makes_it_raise(log: str) -> None:
    restored(log)
    restored(log.replace("a", "a" * 70))
