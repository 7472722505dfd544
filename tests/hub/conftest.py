# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub on this machine, and real clients of two generations, each in an environment of its own."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.hub import HubServer
from support.paths import ROOT

# The client of vLLM 0.10, and one of today: another name for partials, no resuming, a manifest, a shared store.
CLIENTS = ("0.34.4", "2.4.0")
MODEL = "org/model"
SHARDS = tuple(f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3))
SHARD_BYTES = 12 << 20


class Client:
    def __init__(self, python: Path, version: str, endpoint: str, home: Path) -> None:
        self.python, self.version = python, version
        self.environment = {
            "PATH": os.environ["PATH"],
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }

    def start(self, cache: Path, **options: Any) -> subprocess.Popen[bytes]:
        where = {"cache_dir": str(cache), "max_workers": 4, **options}
        script = f"from huggingface_hub import snapshot_download as load; load({MODEL!r}, **{where!r})"
        return subprocess.Popen([self.python, "-c", script], env=self.environment, stderr=subprocess.PIPE)

    def download(self, cache: Path, **options: Any) -> None:
        with self.start(cache, **options) as process:
            _out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()

    def warnings(self, cache: Path) -> list[str]:
        script = (
            "import json, sys; from huggingface_hub import scan_cache_dir;"
            "print(json.dumps([str(each) for each in scan_cache_dir(sys.argv[1]).warnings]))"
        )
        argv = [self.python, "-c", script, cache]
        return json.loads(subprocess.run(argv, env=self.environment, check=True, capture_output=True).stdout)


def make_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    random.seed(4)
    for shard in SHARDS:
        header = json.dumps({shard: {"dtype": "U8", "shape": [SHARD_BYTES], "data_offsets": [0, SHARD_BYTES]}}).encode()
        (folder / shard).write_bytes(struct.pack("<Q", len(header)) + header + random.randbytes(SHARD_BYTES))
    index = {"weight_map": {shard: shard for shard in SHARDS}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "sub").mkdir()
    for number in range(6):
        (folder / "sub" / f"{number}.txt").write_text(f"{number}\n")


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    models = tmp_path_factory.mktemp("models")
    make_model(models / MODEL)
    hub = HubServer(models)
    hub.start()
    yield hub
    hub.stop()


def python_of(version: str) -> Path:
    """The Python of an environment with that client, made when it is not there."""
    folder = ROOT / ".cache" / "hub-clients" / version
    python, stamp = folder / "bin" / "python", folder / ".stamp"
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        quiet = ["-qq", "--disable-pip-version-check", "--no-input"]
        subprocess.run([python, "-m", "pip", *quiet, "install", f"huggingface_hub=={version}"], check=True)
        stamp.touch()
    return python


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, hub: HubServer, tmp_path: Path) -> Client:
    hub.reset()
    return Client(python_of(request.param), request.param, hub.endpoint, tmp_path / "home")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder
