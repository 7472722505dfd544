# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.progress import Progress, Rate, duration, size


def state(phase: str | None, **values: t.Any) -> dict[str, t.Any]:
    progress = dict.fromkeys(
        (
            "bytes",
            "expected_bytes",
            "shards_done",
            "shards_total",
            "compile_seconds",
            "capture_done",
            "capture_total",
            "capture_seconds",
        )
    )
    top = dict.fromkeys(("kv_cache_tokens", "max_concurrency", "max_model_len", "completion", "hint"))
    for name, value in values.items():
        (progress if name in progress else top)[name] = value
    return {"phase": phase, "progress": progress, **top}


@pytest.mark.parametrize(
    ("number", "like", "text"),
    [
        (9.4e9, None, ("9.4", "GB")),
        (3.9e9, 9.4e9, ("3.9", "GB")),
        (96e6, None, ("96", "MB")),
        (12e6, 9.4e9, ("0.0", "GB")),
        (331_000, None, ("331", "kB")),
        (12, None, ("12", "B")),
    ],
)
def test_size(number: float, like: float | None, text: tuple[str, str]) -> None:
    assert size(number, like) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (81, "81 s"), (125, "2 min 5 s"), (2 * 3600 + 60, "2 h 1 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_rate_looks_at_the_last_half_minute() -> None:
    rate = Rate()
    assert rate.per_second is None
    for second in range(0, 60, 5):
        rate.add(second, second * 10)
    for second in range(60, 95, 5):
        rate.add(second, 600)
    assert rate.per_second == 0
    rate.add(95, 3)  # removed and begun again
    assert rate.per_second is None


def padded(line: str) -> str:
    """The phases stand in a column."""
    phase, rest = line.split(" | ", 1)
    return f"spark01 | {phase:<9} | {rest}"


def test_what_it_waits_for_is_shown_at_once_and_then_now_and_again() -> None:
    progress = Progress("spark01", 0)
    progress.lines(state("container"), 0)
    waits = {"meaning": "the hub does not answer, the client asks again (try 1 of 5)"}
    assert progress.lines(state("container", hint=waits), 2) == [padded(f"container | {waits['meaning']}")]
    assert progress.lines(state("container", hint=waits), 4) == []
    assert progress.lines(state("container", hint=waits), 14) == [padded(f"container | {waits['meaning']} | 14 s")]


def test_story_of_a_start() -> None:
    progress = Progress("spark01", 0)
    download = {"expected_bytes": 9_400_000_000}
    looks: list[tuple[float, dict[str, t.Any], list[str]]] = [
        (0, state("container"), ["container | started"]),
        (2, state("container"), []),
        (4, state("download", bytes=0, **download), ["download | 0 % | 0.0 of 9.4 GB"]),
        (
            14,
            state("download", bytes=960_000_000, **download),
            ["download | 10 % | 1.0 of 9.4 GB | 96 MB/s | 88 s left"],
        ),
        (19, state("download", bytes=1_440_000_000, **download), []),
        (
            100,
            state("load", bytes=9_400_000_000, shards_done=0, shards_total=2, **download),
            ["download | done | 9.4 GB in 96 s", "load | shards 0/2 | 0 %"],
        ),
        (105, state("load", shards_done=1, shards_total=2), ["load | shards 1/2 | 50 %"]),
        (110, state("load", shards_done=1, shards_total=2), []),
        (115, state("load", shards_done=1, shards_total=2), ["load | shards 1/2 | 50 % | 15 s"]),
        (120, state("compile", shards_done=2, shards_total=2), ["load | shards 2/2 | 100 %", "compile | started"]),
        (130, state("compile", shards_done=2, shards_total=2), ["compile | 10 s"]),
        (
            154,
            state(
                "capture",
                shards_done=2,
                shards_total=2,
                compile_seconds=33.8,
                kv_cache_tokens=623_104,
                max_concurrency=19.02,
                max_model_len=32768,
                capture_done=8,
                capture_total=19,
            ),
            ["compile | done in 34 s", "kv_cache | 623,104 tokens | 19.0 x 32,768", "capture | graphs 8/19 | 42 %"],
        ),
    ]
    for now, look, lines in looks:
        assert progress.lines(look, now) == [padded(line) for line in lines], now


def test_quick_start_shows_its_milestones_at_the_end() -> None:
    progress = Progress("spark01", 0)
    progress.lines(state("container"), 0)
    done = state("ready", shards_done=1, shards_total=1, kv_cache_tokens=2_097_152)
    assert progress.lines(done, 30) == [
        padded("load | shards 1/1 | 100 %"),
        padded("kv_cache | 2,097,152 tokens"),
    ]
    assert progress.lines(done, 60) == []


def test_download_of_unknown_size() -> None:
    progress = Progress("spark01", 0)
    progress.lines(state("download", bytes=0), 0)
    assert progress.lines(state("download", bytes=20_000_000), 10) == [padded("download | 20 MB | 2 MB/s")]


def test_ready() -> None:
    progress = Progress("spark01", 0)
    done = state("ready", completion={"text": " I", "tokens": 1, "seconds": 0.31})
    assert progress.ready(done, 81.2) == "spark01 | ready     | 81 s | 1 token in 0.3 s"
    assert progress.ready(state("ready"), 81.2) == "spark01 | ready     | 81 s"


def test_no_line_without_a_phase() -> None:
    progress = Progress("spark01", 0)
    assert progress.lines(state(None), 0) == []
    assert progress.lines(state(None), 100) == []
