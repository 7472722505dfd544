#!/usr/bin/env python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the GPU machine: real faults of a real vLLM, each with its log.

    faults.py OUT [NAME...]

Writes OUT/faults/NAME.log and OUT/faults/faults.json: how each server ended, and what it answered meanwhile. The
diagnosis is made of these files, by compare.py or the unit tests. Memory is taken by a second process with plain
allocations.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import shapes
import starts
from starts import READY, Hog, Server, log

FOUND: dict[str, dict[str, t.Any]] = {}
OUT = Path("out")
VLLM = Path(os.environ.get("VLLM", "/root/vl"))
EAGER = ["--enforce-eager", "--max-model-len", "8192", "--max-num-seqs", "64"]
PLAIN = ["small", *EAGER, "--gpu-memory-utilization", "0.5"]
# CUDA graphs without compilation, which takes a minute and is another matter
GRAPHS = ["--compilation-config", json.dumps({"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"})]
WEIGHTS = re.compile(r"odel loading took")
KV_SIZE = re.compile(r"KV cache size")
LOADING = re.compile(r"tarting to load model|oading safetensors|Using \w+ attention backend|Using .* attention")
CAPTURING = re.compile(r"Capturing CUDA graphs")
PROMPT = {"model": "small", "prompt": "t5 " * 200, "max_tokens": 400, "ignore_eos": True, "temperature": 0}
# Reduced by one layer or two: only whether it starts matters.
MODELS: dict[str, dict[str, t.Any]] = {
    "small": shapes.SMALL,
    "large": shapes.LARGE,
    "too-large": shapes.TOO_LARGE,
    "eight": shapes.SHAPES["qwen3-8b-fp8"],
    "experts": {**shapes.SHAPES["qwen3-30b-a3b-fp8"], "num_hidden_layers": 2},
    "four-bits": {**shapes.SHAPES["llama33-70b-nvfp4"], "num_hidden_layers": 2},
    "experts-four-bits": {
        **shapes.SHAPES["qwen3-30b-a3b-fp8"],
        "num_hidden_layers": 2,
        "quantization_config": shapes.SHAPES["llama33-70b-nvfp4"]["quantization_config"],
    },
}


def start(name: str, words: list[str], environment: dict[str, str] | None = None, waits: bool = True) -> Server:
    return Server(name, OUT / "faults" / f"{name}.log", words, environment, waits)


def keep(server: Server, **more: t.Any) -> None:
    """How it ended; a server that does not end by itself is ended after the record."""
    running = server.running()
    seconds = round(time.monotonic() - server.begin, 1)
    FOUND[server.name] = {"running": running, "exit_code": server.code, "seconds": seconds, **more}
    server.end()
    log(server.name, FOUND[server.name])
    (OUT / "faults" / "faults.json").write_text(json.dumps(FOUND, indent=1))


def ends(name: str, words: list[str], seconds: float = 60, **options: t.Any) -> None:
    """A start that fails by itself."""
    server = start(name, words, **options)
    server.wait(READY, seconds)
    keep(server)


@contextlib.contextmanager
def hog() -> t.Iterator[Hog]:
    starts.wait_for_free()
    other = Hog()
    try:
        yield other
    finally:
        other.end()
        starts.wait_for_free()


def answers(server: Server) -> dict[str, t.Any]:
    found = {path: server.get(path, seconds=5)[0] for path in ("/health", "/v1/models", "/metrics")}
    short = {"model": server.name_of_model(), "prompt": "t7", "max_tokens": 1}
    return {**found, "/v1/completions": server.get("/v1/completions", short, 8)[0]}


def load(server: Server) -> list[threading.Thread]:
    """Sixteen requests at a time, in the background."""

    def ask() -> None:
        server.get("/v1/completions", PROMPT, 60)

    threads = [threading.Thread(target=ask, daemon=True) for _thread in range(16)]
    for thread in threads:
        thread.start()
    return threads


# --- while another server serves -------------------------------------------------------------------------------------


def serving() -> None:
    """One server that has the GPU: a second one, its port, its engine frozen, and killed while it works."""
    first = start("engine_killed_under_load", ["small", *EAGER, "--gpu-memory-utilization", "0.90"])
    if first.wait(READY, 90) != "seen":
        keep(first, note="was never ready")
        return
    ready = answers(first)
    second = start("memory_taken_by_another_server", ["small", *EAGER], waits=False)
    third = start("port_in_use", [*PLAIN, "--port", str(first.port)], waits=False)
    second.wait_for_end(60)
    keep(second)
    third.wait_for_end(30)
    keep(third)
    engine = first.engine()
    load(first)
    time.sleep(2)
    os.kill(engine, signal.SIGSTOP)
    time.sleep(2)
    frozen = answers(first)
    length = len(first.text())
    time.sleep(12)  # a line of statistics every ten seconds, if there is anything to say
    said = first.text()[length:][-1500:]
    os.kill(engine, signal.SIGCONT)
    time.sleep(3)
    woken = answers(first)
    load(first)
    time.sleep(2)
    killed = time.monotonic()
    os.kill(engine, signal.SIGKILL)
    ended = first.wait_for_end(30)
    took = round(time.monotonic() - killed, 1)
    keep(first, ready=ready, frozen=frozen, frozen_said=said, woken=woken, ended=ended, seconds_to_end=took)


def stopped() -> None:
    server = start("stopped_under_load", PLAIN)
    if server.wait(READY, 90) == "seen":
        load(server)
        time.sleep(1)
        os.kill(server.pid, signal.SIGTERM)
        server.wait_for_end(30)
    keep(server)


def memory_while_serving() -> None:
    """The rest of the memory is gone when a request needs some: log-probabilities of a whole prompt."""
    server = start("out_of_memory_while_serving", ["small", *EAGER, "--gpu-memory-utilization", "0.5"])
    if server.wait(READY, 90) != "seen":
        keep(server, note="was never ready")
        return
    other = Hog()
    took = other.take(-48)
    body = {"model": "small", "prompt": "t9 " * 8000, "max_tokens": 1, "prompt_logprobs": 5, "logprobs": 5}
    answered = [server.get("/v1/completions", body, 40) for _time in range(2)]
    server.wait_for_end(10)
    keep(server, took=took, answered=[(status, text[:300]) for status, text in answered])
    other.end()


# --- memory -----------------------------------------------------------------------------------------------------------


def memory_taken_before() -> None:
    with hog() as other:
        took = other.take(100 * 1024)
        server = start("memory_taken_before", ["small", *EAGER, "--gpu-memory-utilization", "0.9"], waits=False)
        server.wait_for_end(60)
        keep(server, took=took)


def memory_given_back() -> None:
    """Another process ends while vLLM measures."""
    with hog() as other:
        other.take(40 * 1024)
        words = ["eight", *EAGER, "--max-num-batched-tokens", "16384", "--gpu-memory-utilization", "0.6"]
        server = start("memory_given_back_while_measuring", words, waits=False)
        state = server.wait(WEIGHTS, 60, 0.02)
        other.take(0)
        server.wait(KV_SIZE, 30)
        server.wait_for_end(5)
        keep(server, state=state)


def memory_taken_while_measuring() -> None:
    with hog() as other:
        words = ["eight", *EAGER, "--max-num-batched-tokens", "16384", "--gpu-memory-utilization", "0.6"]
        server = start("memory_taken_while_measuring", words, waits=False)
        state = server.wait(WEIGHTS, 60, 0.02)
        took = other.take(-300)
        server.wait_for_end(40)
        keep(server, state=state, took=took)


def memory_taken_after(name: str, mark: re.Pattern[str], words: list[str]) -> None:
    """Whatever is free after a line of the log is taken, again and again until the server has ended."""
    with hog() as other:
        server = start(name, words, waits=False)
        state = server.wait(mark, 90, 0.005)
        took = []
        end = time.monotonic() + 30
        while server.running() and time.monotonic() < end and not READY.search(server.text()):
            took.append(other.take(-8))
        keep(server, state=state, took=took[:3])


def memory_while_capturing() -> None:
    """512 sizes of graphs, so that capturing takes longer than the memory takes to go."""
    words = ["eight", "--max-model-len", "8192", "--max-num-seqs", "512", *GRAPHS, "--gpu-memory-utilization", "0.8"]
    memory_taken_after("memory_gone_while_capturing", CAPTURING, words)


def memory_before_the_kv_cache() -> None:
    words = ["eight", *EAGER, "--gpu-memory-utilization", "0.8"]
    memory_taken_after("memory_taken_before_the_kv_cache", KV_SIZE, words)


def memory_while_loading() -> None:
    words = ["large", *EAGER, "--gpu-memory-utilization", "0.8"]
    memory_taken_after("memory_gone_while_loading", LOADING, words)


def kv_too_small() -> None:
    words = ["eight", "--enforce-eager", "--max-model-len", "40960", "--max-num-batched-tokens", "16384"]
    ends("kv_cache_too_small", [*words, "--gpu-memory-utilization", "0.09"])


def kv_none() -> None:
    words = ["eight", "--enforce-eager", "--max-model-len", "40960", "--max-num-batched-tokens", "16384"]
    ends("kv_cache_none", [*words, "--gpu-memory-utilization", "0.07"])


def too_large() -> None:
    ends("out_of_memory_while_loading", ["too-large", *EAGER, "--gpu-memory-utilization", "0.95"], 90)


def own_options() -> None:
    """No other process: what the options ask for is more than there is. The sizes are those of an H200."""
    graphs = {**json.loads(GRAPHS[1]), "cudagraph_capture_sizes": list(range(1, 513))}
    words = ["eight", "--max-model-len", "8192", "--max-num-seqs", "512", "--max-num-batched-tokens", "2048"]
    words += ["--compilation-config", json.dumps(graphs)]
    for name, gib in (("own_cache_leaves_too_little", 129.4), ("own_graphs_out_of_memory", 128.8)):
        ends(name, [*words, "--kv-cache-memory-bytes", str(int(gib * 2**30))], 90)
    ends("own_cache_out_of_memory", ["eight", *EAGER, "--kv-cache-memory-bytes", str(135 * 2**30)])
    ends("own_batch_out_of_memory", ["eight", *EAGER[:3], "--max-num-batched-tokens", "2000000"])


# --- kernels ----------------------------------------------------------------------------------------------------------


def backends() -> None:
    ends("attention_backend_unknown", [*PLAIN, "--attention-backend", "FLASH_ATTENTION_9"], waits=False)
    ends("attention_backend_unfit", [*PLAIN, "--attention-backend", "FLASHMLA"])
    ends("attention_backend_not_installed", [*PLAIN, "--attention-backend", "FLASHINFER"])
    ends("kv_dtype_unfit", [*PLAIN, "--kv-cache-dtype", "fp8_e5m2", "--attention-backend", "FLASH_ATTN"])
    ends("moe_backend_unfit", ["experts", *PLAIN[1:], "--moe-backend", "flashinfer_trtllm"])
    ends("moe_backend_fp4_unfit", ["experts-four-bits", *PLAIN[1:], "--moe-backend", "flashinfer_cutlass"])
    ends("linear_backend_unfit", ["four-bits", *PLAIN[1:], "--linear-backend", "flashinfer_cutlass"])
    ends("linear_backend_fp8_unfit", ["eight", *PLAIN[1:], "--linear-backend", "deep_gemm"])


def options() -> None:
    ends("tensor_parallel_too_large", [*PLAIN, "--tensor-parallel-size", "2"], waits=False)
    ends("context_too_long", ["small", "--max-model-len", "131072", "--enforce-eager"], waits=False)


# --- a broken image: starts of their own, beside the others -----------------------------------------------------------


class Own:
    """A start without the fork, of a copy of vLLM (links) that lacks something."""

    def __init__(self, name: str, missing: t.Sequence[str], environment: dict[str, str]) -> None:
        self.name, self.begin = name, time.monotonic()
        tree = Path(f"/tmp/trees/{name}")
        if missing:
            tree.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-as", str(VLLM), str(tree)], check=True)
            for pattern in missing:
                for path in tree.glob(pattern):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        folder = str(tree if missing else VLLM)
        values = {**os.environ, **starts.ENVIRONMENT, **environment, "PYTHONPATH": folder}
        words = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", "four-bits", "--load-format", "dummy"]
        words += [*EAGER, "--port", str(8090 + len(name))]
        with open(OUT / "faults" / f"{name}.log", "wb") as file:
            self.process = subprocess.Popen(
                words, stdout=file, stderr=file, env=values, cwd=starts.MODELS, start_new_session=True
            )

    def keep(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        code = self.process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        FOUND[self.name] = {"running": code is None, "exit_code": code, "own": True}
        log(self.name, FOUND[self.name])
        (OUT / "faults" / "faults.json").write_text(json.dumps(FOUND, indent=1))


BROKEN: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "python_module_missing": (("xgrammar", "xgrammar-*"), {}),
    "compiled_operators_missing": (("vllm/_C*.so",), {}),
    "no_gpu_visible": ((), {"CUDA_VISIBLE_DEVICES": ""}),
}
FAULTS: tuple[t.Callable[[], None], ...] = (
    serving,
    stopped,
    memory_taken_before,
    memory_given_back,
    memory_taken_while_measuring,
    memory_while_capturing,
    memory_before_the_kv_cache,
    memory_while_loading,
    kv_too_small,
    kv_none,
    too_large,
    own_options,
    memory_while_serving,
    backends,
    options,
)


def main(out: Path, names: list[str]) -> None:
    global OUT
    OUT = out
    (out / "faults").mkdir(parents=True, exist_ok=True)
    starts.import_vllm()
    for name, config in MODELS.items():
        starts.make_model(name, config)
    broken = [Own(name, *BROKEN[name]) for name in BROKEN if not names or name in names]
    for fault in FAULTS:
        if not names or fault.__name__ in names:
            try:
                starts.wait_for_free()
                fault()
            except Exception as error:
                log(fault.__name__, "failed:", type(error).__name__, error)
    for start_ in broken:
        start_.keep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
