# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub of the journey's own with its models, a cache, and the image with two clients."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hub import HubServer
from support.models import make
from support.sandbox import GATEWAY, IMAGE, Spark

from .own_hub import CACHE, MODEL, OLD_CLIENT, OLD_IMAGE, PORT, USELESS, remove_all


@pytest.fixture(scope="session")
def own_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    models = tmp_path_factory.mktemp("models")
    make(models / MODEL, shards=2, vocabulary=200_000, hidden=64, heads=4, head_dim=32)
    make(models / "sandbox/gated", shards=1, vocabulary=640, hidden=64, heads=4, head_dim=32)
    for name in USELESS:
        file = models / MODEL / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"useless" * 200_000)
    hub = HubServer(models, GATEWAY, PORT)
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture
def hub(own_hub: HubServer) -> Iterator[HubServer]:
    """The hub, without a fault, as fast as it goes, its counters at zero."""
    own_hub.start()
    own_hub.reset()
    yield own_hub
    if own_hub.running and any(rule.get("hang") for rule in own_hub.control()["fail"]):
        own_hub.stop()  # let go, it would send, and count, what its sockets still take


@pytest.fixture
def cache(spark: Spark) -> Iterator[str]:
    remove_all(spark)
    yield CACHE
    remove_all(spark)


@pytest.fixture(scope="session")
def old_client() -> Iterator[Path]:
    """The hub's client of image 25.09, as this machine's package index has it."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", f"{folder}/old", f"huggingface_hub=={OLD_CLIENT}"], check=True)
        archive = Path(folder) / "old.tar.gz"
        subprocess.run(["tar", "-C", folder, "-czf", archive, "old"], check=True)
        yield archive


@pytest.fixture(scope="module")
def old_image(spark: Spark, old_client: Path) -> Iterator[str]:
    """The sandbox's image with that client in front of its own."""
    spark.copy(old_client)
    with spark.sudo():
        spark.run("docker rm --force journey-old-client")
        spark.check_output("docker create --name journey-old-client %s", IMAGE)
        spark.check_output("tar -C /tmp -xzf /tmp/old.tar.gz && docker cp /tmp/old journey-old-client:/old")
        spark.check_output("docker commit --change 'ENV PYTHONPATH=/old' journey-old-client %s", OLD_IMAGE)
        spark.check_output("docker rm journey-old-client && rm -rf /tmp/old /tmp/old.tar.gz")
    yield OLD_IMAGE
    with spark.sudo():
        spark.check_output("docker rmi %s", OLD_IMAGE)


@pytest.fixture(scope="module", params=["its own client", f"client {OLD_CLIENT}"])
def image(request: pytest.FixtureRequest) -> str:
    return IMAGE if request.param == "its own client" else request.getfixturevalue("old_image")
