#!/usr/bin/env python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the GPU machine: starts every shape of the catalog until vLLM has said how large its KV cache is.

    plan.py OUT [NAME...]

Writes OUT/plan/NAME.log for each start and OUT/plan/starts.json with the options. compare.py makes the table of them,
anywhere. A name with a suffix is a shape with other options: NAME+graphs, NAME+uncached.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import starts
from shapes import EAGLE3, OTHERS, SHAPES
from starts import log

THROUGHPUT = {
    "max_model_len": 32768,
    "gpu_memory_utilization": 0.90,
    "max_num_batched_tokens": 16384,
    "max_num_seqs": 64,
    "enable_prefix_caching": True,
}
# What an entry of the catalog adds. A model that sees is started without that part, unless its name says +vision.
OWN: dict[str, dict[str, t.Any]] = {
    **dict.fromkeys(("gemma4-26b-a4b-nvfp4", "nemotron3-super", "nemotron35-lightning"), {"kv_cache_dtype": "fp8"}),
    **dict.fromkeys(
        ("qwen35-122b-a10b-nvfp4", "qwen36-27b-nvfp4", "qwen36-35b-a3b-nvfp4", "qwen38-27b-nvfp4"),
        {"kv_cache_dtype": "fp8", "language_model_only": True},
    ),
    **dict.fromkeys(("qwen3-vl-8b-fp8", "qwen36-35b-a3b-fp8", "qwen38-27b-fp8"), {"language_model_only": True}),
}
SUFFIXES: dict[str, dict[str, t.Any]] = {
    "graphs": {"enforce_eager": None},
    "uncached": {"enable_prefix_caching": False},
    "latency": {
        "max_model_len": 16384,
        "gpu_memory_utilization": 0.85,
        "max_num_batched_tokens": 8192,
        "max_num_seqs": 16,
        "enable_prefix_caching": None,
    },
    "fp8": {"kv_cache_dtype": "fp8"},
    "vision": {"language_model_only": None},
    "mtp": {"speculative_config": {"method": "mtp", "num_speculative_tokens": 2}},
    "eagle3": {"speculative_config": {"method": "eagle3", "model": "/tmp/models/eagle3", "num_speculative_tokens": 3}},
    "triton": {"attention_backend": "TRITON_MLA"},
}
LIMIT, AHEAD = 150, int(os.environ.get("AHEAD", "1"))


def options(name: str) -> dict[str, t.Any]:
    shape, *suffixes = name.split("+")
    args: dict[str, t.Any] = {**THROUGHPUT, "enforce_eager": True, **OWN.get(shape, {})}
    for suffix in suffixes:
        args.update(SUFFIXES[suffix])
    return {key: value for key, value in args.items() if value is not None}


def machine() -> dict[str, t.Any]:
    """Asked in a process of its own: this one must not touch the GPU before it forks."""
    script = (
        "import json, torch; p = torch.cuda.get_device_properties(0);"
        "print(json.dumps({'name': p.name, 'total': torch.cuda.mem_get_info()[1], 'free': torch.cuda.mem_get_info()[0],"
        " 'torch': torch.__version__, 'cuda': torch.version.cuda}))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    facts: dict[str, t.Any] = json.loads(found.stdout) if found.returncode == 0 else {"error": found.stderr[-500:]}
    command = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    facts["driver"] = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return facts


def first_to_end(running: list[starts.Server]) -> tuple[starts.Server, str]:
    """Of those that run at the same time, the one that has said it, has ended, or takes too long."""
    while True:
        for server in running:
            state = server.wait(starts.KV_SIZE, 0.2)
            if state != "late" or time.monotonic() - server.begin > LIMIT:
                return server, state


def main(out: Path, names: list[str]) -> None:
    folder = out / "plan"
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, t.Any] = {"machine": machine(), "starts": {}}
    log(record["machine"])
    starts.import_vllm()
    for name in {name.split("+")[0] for name in names}:
        starts.make_model(name, {**SHAPES, **OTHERS}[name])
    starts.make_model("eagle3", EAGLE3)
    waiting = list(names)
    running: list[starts.Server] = []
    while waiting or running:
        while waiting and len(running) < AHEAD:
            name = waiting.pop(0)
            words = [name.split("+")[0], *starts.as_words(options(name))]
            running.append(starts.Server(name, folder / f"{name}.log", words))
            time.sleep(0.5)  # in this order to the lock
        server, state = first_to_end(running)
        running.remove(server)
        server.end()
        record["starts"][server.name] = {
            "args": options(server.name),
            "state": state,
            "seconds": round(time.monotonic() - server.begin, 1),
        }
        lines = [line for line in server.text().splitlines() if "KV cache size" in line or "Error" in line]
        log(server.name, state, record["starts"][server.name]["seconds"], *(line[-150:] for line in lines[-1:]))
        (folder / "starts.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(SHAPES))
