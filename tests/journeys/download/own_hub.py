# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this journey share: names, and a hub of its own, so that what is counted is its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testinfra.host import Host

SHARED = Path(__file__).resolve().parents[2] / "shared"
GATEWAY = "172.30.111.1"  # this machine, as the hosts see it
PORT = 8099
IMAGE = "172.30.111.3:5000/nvidia/vllm:25.09-py3"
OLD_IMAGE = "dgxspark-journey/old-client:1"
OLD_CLIENT = "0.34.4"  # of image 25.09
CACHE = "/opt/hf-journey-download"
MODEL = "journey/model"
# What a model's repository may hold and vLLM does not ask for.
USELESS = ("original/model.safetensors", "metal/model.bin", "pytorch_model.bin", "model.gguf")


class Hub:
    """The sandbox's hub as a process of its own: can be told what to do, and can go away."""

    port = PORT
    endpoint = f"http://{GATEWAY}:{PORT}"

    def __init__(self, models: Path, until: Callable[..., Any]) -> None:
        self.models = models
        self.until = until
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, SHARED / "hub" / "server.py", "--models", self.models, "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.until(self.answers, "the journey's hub")
        self.tell(rate_bytes_per_second=0)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the hub ended"
        try:
            self.tell()
        except OSError:
            return False
        return True

    def tell(self, **settings: Any) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.endpoint}/control", json.dumps(settings).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def size(self, model: str = MODEL) -> int:
        """Bytes of the files that vLLM needs."""
        folder = self.models / model
        files = [file for file in folder.rglob("*") if file.is_file()]
        names = {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}
        return sum(size for name, size in names.items() if name not in USELESS and not name.endswith(".md"))


def remove_all(spark: Host) -> None:
    with spark.sudo():
        ours = spark.check_output("docker ps --all --quiet --filter label=dgxspark.vllm.download").split()
        if ours:
            spark.check_output("docker rm --force " + " ".join(ours))
        spark.run("umount %s", CACHE)
        spark.check_output("rm -rf %s", CACHE)
