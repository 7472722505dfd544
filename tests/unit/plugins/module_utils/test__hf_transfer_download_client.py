# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script of the container, as a process of its own, with stand-ins for huggingface_hub."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import download_client as client

JOB: dict[str, t.Any] = {
    "task": "download",
    "repo": "o/n",
    "revision": "main",
    "files": ["a[1].json"],
    "token": "t0ken",
    "umask": 0o22,
}
JOB["timeout"] = None


def start(folder: Path, hub: str, **job: t.Any) -> subprocess.Popen[str]:
    (folder / "huggingface_hub.py").write_text(f"__version__ = '0.34.4'\n{hub}")
    (folder / "job.json").write_text(json.dumps({**JOB, "environment": {"HF_ENDPOINT": "http://x"}, **job}))
    command = [sys.executable, client.__file__, str(folder / "job.json")]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(run: subprocess.Popen[str]) -> t.Any:
    return json.loads(run.communicate(timeout=60)[0].splitlines()[-1])


def test_a_download_with_names_taken_literally(tmp_path: Path) -> None:
    hub = "import os\ndef snapshot_download(repo, revision, allow_patterns, token):\n"
    hub += "    assert os.environ['HF_ENDPOINT'] == 'http://x'\n    return '/c/' + allow_patterns[0] + token"
    run = start(tmp_path, hub)
    assert answer(run) == {"done": {"client": "0.34.4", "commit": "a[[]1].jsont0ken"}}
    assert run.returncode == 0
    assert not (tmp_path / "job.json").exists()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_download_is_not_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    hub = f"import os\ndef snapshot_download(*_args, **_more):\n    return '/c/' + str(os.environ.get({name!r}))\n"
    assert answer(start(tmp_path, hub, environment={name: "1"}))["done"]["commit"] == "None"
    monkeypatch.setenv(name, "1")  # of the image
    assert answer(start(tmp_path, hub))["done"]["commit"] == "None"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o007, 0o660)])
def test_what_is_downloaded_has_the_rights_of_the_cache(tmp_path: Path, umask: int, mode: int) -> None:
    snapshot = tmp_path / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    manifest = tmp_path / "trees" / f"{snapshot.name}.json"
    manifest.parent.mkdir()
    manifest.touch(mode=0o600)
    hub = f"def snapshot_download(*_args, **_more):\n    open({str(snapshot / 'x')!r}, 'w').close()\n"
    run = start(tmp_path, hub + f"    return {str(snapshot)!r}", umask=umask)
    assert answer(run)["done"]["commit"] == snapshot.name
    assert [path.stat().st_mode & 0o777 for path in (snapshot / "x", manifest)] == [mode, mode]


def test_a_failure_is_told_from_the_inside_out_without_the_token(tmp_path: Path) -> None:
    hub = "def snapshot_download(repo, revision, allow_patterns, token):\n    try:\n        raise ValueError(token)\n"
    hub += "    except ValueError as error:\n        raise OSError('outer') from error"
    run = start(tmp_path, hub)
    assert answer(run) == {"errors": ["ValueError: ***", "OSError: outer"]}
    assert run.returncode == 1


def test_no_client(tmp_path: Path) -> None:
    run = start(tmp_path, "raise ModuleNotFoundError(\"No module named 'huggingface_hub'\")")
    assert "No module named 'huggingface_hub'" in answer(run)["errors"][-1]


def test_a_hub_that_hangs(tmp_path: Path) -> None:
    hub = "import threading\ndef snapshot_download(**_more):\n    threading.Event().wait()\n"
    hub = hub.replace("**_more", "*_args, **_more")
    assert answer(start(tmp_path, hub, timeout=0.5)) == {"errors": ["TimeoutError: no answer of the hub within 0 s"]}


def test_a_polite_kill(tmp_path: Path) -> None:
    hub = "import threading\ndef snapshot_download(*_args, **_more):\n"
    hub += "    print('started', flush=True)\n    threading.Event().wait()\n"
    run = start(tmp_path, hub)
    assert run.stdout
    assert run.stdout.readline() == "started\n"
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 143
    run.communicate()


def test_a_chain_without_end() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    assert len(client.chain(one, "")) == 10


@pytest.mark.parametrize("length", [10, 100_000])
def test_a_long_error(length: int) -> None:
    assert len(client.chain(ValueError("x" * length), "")[0]) <= client.LONGEST_ERROR
