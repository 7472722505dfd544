# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve together: what is told of a rank that has no API, and of the head that waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import Link, Observation, judge
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from vllm_observations import (
    HEALTHY,
    NOW,
    OOM,
    QUIET_100,
    api,
    container,
    seen,
)

PAIR = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm" / "0.24" / "pair"
LOADING = parse("(Worker_TP1 pid=7) INFO 11-29 10:00:00 [cpu_model_runner.py:58] Starting to load model x...")
RAY_WAITS = (
    "[2026-11-30 07:06:09,104 W 1 1] rpc_client.h:153: Failed to connect to GCS at address 10.0.0.1:29501 within 5"
    " seconds.\n"
)
RAY_JOINED = parse(f"{RAY_WAITS}2026-11-30 07:06:17,446\tSUCC scripts.py:1248 -- Ray runtime started.\n")
LOST, LINKED = Link(1, "10.0.0.1", ["10.0.0.1"]), Link(1, "10.0.0.1", [])


@pytest.mark.parametrize(
    ("observed", "verdict", "cause"),
    [
        (seen(container=container(), link=LINKED, log=LOADING), "ready", None),
        (seen(container=container(), link=LOST, log=LOADING), "degraded", "peer_lost"),
        (seen(container=container(), link=LOST), "loading", None),  # it has yet to meet its head
        (seen(container=container(), link=LOST, log=parse(RAY_WAITS)), "loading", None),
        (seen(container=container(), link=LINKED, log=RAY_JOINED), "ready", None),
        (seen(container=container(), link=LOST, log=RAY_JOINED), "degraded", "peer_lost"),
        (seen(container=container(), link=LOST, last_log=NOW - 100, wanted=QUIET_100), "stuck", "stuck"),
        (seen(container=container(), link=LOST, log=parse(OOM)), "failed", "cuda_oom"),
        (
            seen(
                container=container(),
                link=Link(0, "10.0.0.1", ["10.0.0.2"]),
                api=api(completion=None, completion_error="HTTP 500: EngineDeadError", metrics=None),
            ),
            "degraded",
            "peer_lost",
        ),
        (
            seen(
                container=container(),
                link=Link(0, "10.0.0.1", []),
                api=api(completion=None, completion_error="timeout", metrics=None),
            ),
            "degraded",
            "peer_lost",
        ),
        (seen(container=container(), link=Link(0, "10.0.0.1", ["10.0.0.2"]), api=HEALTHY), "ready", None),
    ],
)
def test_hosts_that_serve_together(observed: Observation, verdict: str, cause: str | None) -> None:
    found = judge(observed)
    assert (found.verdict, found.cause.id if found.cause else None) == (verdict, cause)


RANK = (PAIR / "head_frozen_under_load.worker.log").read_text()
SAID = "(Worker_TP1 pid=1759) ERROR 11-30 02:51:54 [multiproc_executor.py:900] "
RAISED = (
    f"{SAID}WorkerProc hit an exception.\n{SAID}Traceback (most recent call last):\n"
    f'{SAID}  File "/x/dist-packages/vllm/v1/worker/gpu_worker.py", line 7, in execute_model\n'
)
DIED = (
    "ERROR 11-30 02:51:55 [multiproc_executor.py:280] Worker proc VllmWorker-1 died unexpectedly, shutting down"
    " executor.\n"
)
ILLEGAL = f"{RAISED}{SAID}torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n"
ABORT = "terminate called after throwing an instance of 'c10::DistBackendError'\n  what():  NCCL error: unhandled\n"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (ILLEGAL + DIED, "illegal_access"),
        (ILLEGAL, "illegal_access"),  # the process goes on, and the head does not learn of it
        (f"{RAISED}{SAID}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n", "cuda_oom"),
        (ABORT, "nccl"),
        (DIED, "worker_killed"),
        ("(Worker_TP1 pid=1759) INFO 11-30 02:51:54 [x.py:1] [shutdown] shutdown triggered\n", "stopped"),
    ],
)
@pytest.mark.parametrize("link", [LINKED, LOST])
def test_a_rank_that_serves_and_whose_log_shows_its_end(said: str, cause: str, link: Link) -> None:
    found = judge(seen(container=container(), link=link, log=parse(RANK + said)))
    assert (found.verdict, found.phase, found.cause.id if found.cause else None) == ("failed", "server", cause)


@pytest.mark.parametrize(
    "said",
    ["", f"{RAISED}{SAID}ValueError: LoRA rank 64 is greater than max_lora_rank 16.\n"],
    ids=["nothing", "what a request asked for"],
)
@pytest.mark.parametrize(("link", "verdict"), [(LINKED, "ready"), (LOST, "degraded")])
def test_a_rank_that_serves(said: str, link: Link, verdict: str) -> None:
    assert judge(seen(container=container(), link=link, log=parse(RANK + said))).verdict == verdict


PEER_LOST = (
    f"{RAISED}{SAID}torch.distributed.DistBackendError: NCCL error in: x.cpp:1, remote process exited or there was a"
    f" network error, NCCL version 2.28.9\n{DIED}"
)


@pytest.mark.parametrize(
    ("warned", "cause"),
    [
        ("Got completion from peer 192.0.2.1<40000> with status=12 opcode=0 len=0 vendor err 129", "rdma_path"),
        ("Call to ibv_reg_mr failed with error Cannot allocate memory", "rdma_memory"),
        ("Something else happened", "nccl_peer_lost"),
    ],
)
def test_what_rdma_said_of_a_rank_that_served(warned: str, cause: str) -> None:
    said = parse(f"{RANK}spark02:1759:3329 [0] NCCL WARN {warned}\n{PEER_LOST}")
    found = judge(seen(container=container("exited", exit_code=1), link=LOST, log=said))
    assert found.cause is not None
    assert found.cause.id == cause


def test_a_worker_of_ray_that_waits_says_for_whom() -> None:
    waiting = parse(RAY_WAITS).hint
    assert waiting is not None
    assert waiting.signature.id == "head_awaited"
    assert RAY_JOINED.hint is None
