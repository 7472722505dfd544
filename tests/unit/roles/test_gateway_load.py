# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load of the journeys, through the real HAProxy: a request that fails is never overlooked, whoever sent it."""

from __future__ import annotations

import time
import typing as t
from collections import Counter
from pathlib import Path

import pytest

from support.haproxy import Engine, Gateway
from support.load import Load
from support.waiting import wait_until

MODEL, KEY = "Qwen/Qwen3-8B-FP8", "ada-0123456789abcdef"
AT_ONCE = 8
EACH = {(kind, client) for kind in ("streamed", "whole") for client in ("openai", "plain")}


@pytest.fixture
def engine() -> Engine:
    return Engine(MODEL, "spark01")


@pytest.fixture
def gateway(engine: Engine, tmp_path: Path) -> t.Iterator[Gateway]:
    keys = [{"name": "ada", "key": KEY, "requests_per_minute": 100_000}]
    with Gateway(tmp_path, [engine], keys, body_seconds=30) as found:
        yield found
    engine.stop()


def test_half_of_the_load_is_streamed_and_half_of_both_comes_by_the_client_of_openai(
    gateway: Gateway, engine: Engine
) -> None:
    with Load("127.0.0.1", gateway.port, KEY, MODEL, 50, AT_ONCE) as load:
        wait_until(lambda: len(load.requests) >= 20, "requests are answered", pause=0.05)
        engine.go.clear()
        wait_until(lambda: engine.in_progress == AT_ONCE, "all wait", pause=0.02)
        time.sleep(1)  # of which a busy machine may see less
        engine.go.set()
    assert load.failed == []
    counts = Counter((each.kind, each.client) for each in load.requests)
    assert set(counts) == EACH
    assert max(counts.values()) - min(counts.values()) <= 1
    by_openai = ["openai" in headers.get("user-agent", "").lower() for _path, headers, _body in engine.asked]
    assert sum(by_openai) == counts["streamed", "openai"] + counts["whole", "openai"]
    for kind, client in EACH:
        same = [each for each in load.requests if (each.kind, each.client) == (kind, client)]
        assert max(each.end - each.begin for each in same) > 0.9
        assert kind == "whole" or max(each.gap for each in same) > 0.2


def test_what_is_in_progress_when_the_engine_dies_has_failed_and_so_has_what_is_refused_then(
    gateway: Gateway, engine: Engine
) -> None:
    with Load("127.0.0.1", gateway.port, KEY, MODEL, 50, AT_ONCE) as load:
        wait_until(lambda: len(load.requests) >= AT_ONCE, "requests are answered", pause=0.05)
        engine.go.clear()
        wait_until(lambda: engine.in_progress == AT_ONCE, "all wait", pause=0.02)
        died = time.time()
        engine.die()
        wait_until(lambda: "503" in load.requests[-1].outcome, "the gateway has no engine", pause=0.02)
    ended = [each for each in load.requests if each.end > died]
    assert Counter((each.kind, each.client) for each in ended if each.begin < died) == dict.fromkeys(EACH, 2)
    assert load.failed == ended
