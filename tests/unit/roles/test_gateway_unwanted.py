# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten thousand requests to the real HAProxy with the configuration of the role gateway, most of them unwanted."""

from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import unwanted
from support.haproxy import ENGINE_KEY, Engine, Gateway

MODEL, KEY, SMALL_KEY = "Qwen/Qwen3-8B-FP8", "ada-0123456789abcdef", "bob-0123456789abcdef"
LIMITED = [f"client{number:02}-0123456789abcdef" for number in range(100)]
MANY = {"requests_per_minute": 100_000, "concurrent": 1000}
KEYS = [
    {"name": "ada", "key": KEY, **MANY},
    {"name": "bob", "key": SMALL_KEY, "body_bytes": unwanted.SMALL, **MANY},
    *({"name": key[:8], "key": key, "concurrent": 1, "requests_per_minute": unwanted.PER_MINUTE} for key in LIMITED),
]
COUNT, SLOW, SEED = 10_000, 100, 17


def pid(gateway: Gateway) -> str:
    found = re.search(r"^Pid: (\d+)", gateway.ask("show info"), re.MULTILINE)
    assert found
    return found[1]


def test_of_ten_thousand_requests_only_the_good_ones_reach_a_unit_and_each_has_its_status(tmp_path: Path) -> None:
    engines = [Engine(MODEL, "spark01"), Engine(MODEL, "spark02")]
    # Long enough for a busy machine to bring some keys to their limit.
    with Gateway(tmp_path, engines, KEYS, head_seconds=5, body_seconds=5) as gateway:
        before = pid(gateway)
        target = unwanted.Target("127.0.0.1", gateway.port, MODEL, KEY, SMALL_KEY, ENGINE_KEY)
        found = unwanted.at_their_limit(target, LIMITED)
        rest = list(unwanted.mix(target, COUNT - len(found) - 2 * SLOW, SEED))
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(unwanted.slow, target, SLOW)
            found += unwanted.answered_by_many(target, rest)
            found += slow.result()
        assert len(found) == COUNT
        assert {each.request.kind for each in found} > {*unwanted.KINDS}
        assert unwanted.mistakes(found) == Counter()
        forwarded = Counter(each.request.forwarded for each in found if each.request.forwarded)
        arrived = Counter(json.loads(body)["messages"][0]["content"] for engine in engines for *_, body in engine.asked)
        assert arrived == forwarded
        assert pid(gateway) == before
        assert set(gateway.servers().values()) == {"UP"}
    for engine in engines:
        engine.stop()
