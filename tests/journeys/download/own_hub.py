# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this journey share: names, and the host without a trace of a download."""

from __future__ import annotations

from support.hub import HubServer
from support.paths import JOURNEYS
from support.sandbox import GATEWAY, Spark

HERE = JOURNEYS / "download"
PORT = 8099
ENDPOINT = f"http://{GATEWAY}:{PORT}"
OLD_IMAGE = "dgxspark-journey/old-client:1"
OLD_CLIENT = "0.34.4"  # of image 25.09
CACHE = "/opt/hf-journey-download"
MODEL = "journey/model"
# What a model's repository may hold and vLLM does not ask for.
USELESS = ("original/model.safetensors", "metal/model.bin", "pytorch_model.bin", "model.gguf")


def needed_bytes(hub: HubServer, model: str = MODEL) -> int:
    """Bytes of the files that vLLM needs."""
    folder = hub.models / model
    files = [file for file in folder.rglob("*") if file.is_file()]
    names = {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}
    return sum(size for name, size in names.items() if name not in USELESS and not name.endswith(".md"))


def remove_all(spark: Spark) -> None:
    with spark.sudo():
        ours = spark.check_output("docker ps --all --quiet --filter label=dgxspark.vllm.download").split()
        if ours:
            spark.check_output("docker rm --force " + " ".join(ours))
        spark.run("umount %s", CACHE)
        spark.check_output("rm -rf %s", CACHE)
