# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on what is seen of a server, and what its result says and hides."""

from __future__ import annotations

import json

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.usage import CachedBytes
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import Wanted, judge, result
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from vllm_observations import (
    HEALTHY,
    RESET,
    SERVING,
    container,
    log,
    seen,
    unit,
)
from vllm_verdicts import TABLE


@pytest.mark.parametrize("name", TABLE)
def test_verdict(name: str) -> None:
    observation, verdict, phase, cause = TABLE[name]
    found = judge(observation)
    assert (found.verdict, found.phase, found.cause.id if found.cause else None) == (verdict, phase, cause)
    json.dumps(result(observation))


def test_result_of_a_ready_server() -> None:
    found = result(seen(container=container(), unit=unit("active"), api=HEALTHY, log=SERVING, cached=CachedBytes(9)))
    assert found["verdict"] == "ready"
    assert found["cause"] is None
    assert (found["model"], found["max_model_len"]) == ("Qwen/Qwen3-8B-FP8", 32768)
    assert (found["kv_cache_tokens"], found["max_concurrency"]) == (623_104, 19.02)
    assert found["completion"] == {"text": " I", "tokens": 1, "seconds": 0.3}
    assert found["service"] == {"active_state": "active", "result": "success", "restarts": 0}
    assert found["container"]["status"] == "running"
    assert found["progress"]["bytes"] == 9


def test_progress_of_the_phase_that_goes_on() -> None:
    wanted = Wanted(expected_bytes=200)
    download = seen(container=container(), api=RESET, wanted=wanted, cached=CachedBytes(82, newest_partial=1090))
    assert result(download)["progress"]["percent"] == 41
    download.cached = CachedBytes(500, newest_partial=1090)
    assert result(download)["progress"]["percent"] == 100
    load = seen(
        container=container(), api=RESET, log=parse("Loading safetensors checkpoint shards:  50% Completed | 2/4")
    )
    assert result(load)["progress"]["percent"] == 50
    assert result(seen())["progress"]["percent"] is None


def test_secrets_do_not_show() -> None:
    text = "PermissionError: [Errno 13] Permission denied: '/x/s3cretkey/hf_AbC123'\nlast s3cretkey hf_AbC123"
    observation = seen(container=container("exited", exit_code=1, error="s3cretkey hf_AbC123"), log=parse(text))
    observation.previous = parse(text)
    observation.unit_log = text
    found = json.dumps(result(observation, key="s3cretkey"))
    assert "s3cretkey" not in found
    assert "AbC123" not in found


def test_own_words_are_not_taken_for_a_token() -> None:
    found = result(seen(container=container(), api=RESET, log=log("maxlen.log")), key="abc")
    assert "hf_overrides" in found["cause"]["remedy"]
