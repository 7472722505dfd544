# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts vLLM's engine for each case of a file, one after the other, and prints their logs as JSON.

    engines.py CASES

Runs inside the image. A case is {"name", "config", "args", "environment"}: a model's config.json and options of
`vllm serve`. The weights are vLLM's own dummies. vLLM is imported once, and each engine is a fork of what has imported
it, and ends as soon as its KV cache has a size.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine in this very process
os.environ["HF_HUB_OFFLINE"] = "1"

from vllm import LLM

SIZE = "Maximum concurrency for"  # the end of the line that tells the size of the KV cache


def start(case: dict[str, Any], folder: Path) -> None:
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # the image sets it
    os.environ.update(case["environment"])
    (folder / "config.json").write_text(json.dumps(case["config"]))
    LLM(str(folder), load_format="dummy", skip_tokenizer_init=True, enforce_eager=True, **case["args"])


def log_of(case: dict[str, Any], folder: Path) -> str:
    path = folder / "log"
    path.touch()
    child = os.fork()
    if child == 0:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            start(case, folder)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if SIZE in path.read_text(errors="replace"):  # all else is of no interest, and fills gigabytes
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.1)
    return path.read_text(errors="replace")


def main(cases: Path) -> None:
    logs = {}
    for case in json.loads(cases.read_text()):
        with tempfile.TemporaryDirectory() as folder:
            logs[case["name"]] = log_of(case, Path(folder))
    print(json.dumps(logs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
