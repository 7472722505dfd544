# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects that somebody else has put into a cache, in the place of files that modules read as root.

No module hangs, crashes, takes the host's memory, or opens or changes what is out of the cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import sys
import typing as t
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import ssh_server
from ansible_collections.dgxspark.vllm.plugins.modules import (
    hf_cache_clean,
    hf_cache_copy,
    hf_cache_copy_info,
    hf_cache_export,
    hf_cache_info,
    hf_download,
    model_info,
)
from hf_trees import COMMIT, SHARDS, Repo

pytestmark = pytest.mark.usefixtures("warm_python")
MODEL = "Qwen/Qwen3-8B-FP8"
SECONDS = 90  # for one module; one that waits for a pipe waits for ever
BLOB = "a" * 64
PLACES = (
    "refs/main",
    "refs",
    "blobs",
    f"blobs/{BLOB}",
    f"blobs/{BLOB}.incomplete",
    f"snapshots/{COMMIT}",
    f"snapshots/{COMMIT}/config.json",
    f"snapshots/{COMMIT}/tokenizer.json",
    f"snapshots/{COMMIT}/model.safetensors.index.json",
    f"snapshots/{COMMIT}/{SHARDS[0]}",
    f"trees/{COMMIT}.json",
    f".dgxspark/{COMMIT}.json",
    ".dgxspark/verified.json",
    ".dgxspark/verify.lock",
    ".dgxspark/incoming",
    f"../.locks/models--Qwen--Qwen3-8B-FP8/{BLOB}.lock",
    "../blobs/.huggingface-shared-blobs",
    f"../blobs/55/{'5' * 64}.refs",
)
SECRET = "content of a file that only root may read"


def sparse(path: Path, _outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 << 30)


def unix_socket(path: Path, _outside: Path) -> None:
    short = Path(f"/tmp/{os.getpid()}.sock")  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short))
    shutil.move(short, path)


def device(path: Path, _outside: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("only root makes devices")


KINDS: dict[str, t.Callable[[Path, Path], object]] = {
    "fifo": lambda path, _outside: os.mkfifo(path),
    "zero": lambda path, _outside: path.symlink_to("/dev/zero"),
    "device": device,
    "socket": unix_socket,
    "sparse": sparse,
    "folder": lambda path, _outside: path.mkdir(),
    "dangling": lambda path, _outside: path.symlink_to("nothing"),
    "loop": lambda path, _outside: path.symlink_to(path.name),
    "outside": lambda path, outside: path.symlink_to(outside / "secret"),
    "outside_folder": lambda path, outside: path.symlink_to(outside),
    "nested": lambda path, _outside: path.write_text("[" * 200_000),
    "nested_object": lambda path, _outside: path.write_text('{"text_config":' * 200_000),
    "numbers": lambda path, _outside: path.write_text(
        '{"num_hidden_layers": 1e999, "hidden_size": NaN, "metadata": {"total_size": Infinity}, "files": {"a": {"size":'
        f' {"9" * 400}, "etag": "{BLOB}"}}}}, "{BLOB}": [NaN, -Infinity]}}'
    ),
    "strange_names": lambda path, _outside: path.write_text(
        r'{"\ud800": {"size": 1, "etag": "\udc41"}, "files": {"\udfff": {"size": 1, "blob_id": "x\u0000"}},'
        r' "weight_map": {"a": "\ud800", "b": "../../../../etc/passwd", "c": "d\u0000"}}'
    ),
    "bytes": lambda path, _outside: path.write_bytes(b"\xff\xfe\x00" * 1000),
}
MODULES: dict[str, tuple[ModuleType, dict[str, t.Any]]] = {
    "hf_cache_info": (hf_cache_info, {"verify": "full"}),
    "hf_cache_clean": (hf_cache_clean, {"classes": ["partials", "truncated", "invalid_json", "corrupt", "refs"]}),
    "hf_cache_copy_info": (hf_cache_copy_info, {"model": MODEL}),
    "hf_cache_copy": (hf_cache_copy, {"model": MODEL, "source": "{source}", "keep_free": 0}),
    "hf_cache_export": (hf_cache_export, {"model": MODEL, "public_key": "ssh-ed25519 AAAA", "address": "192.0.2.1"}),
    "hf_download": (hf_download, {"model": MODEL, "offline": True}),
    "model_info": (model_info, {"model": MODEL, "offline": True}),
}


class Hang(BaseException):
    """Not an Exception, so that nothing on the way takes it for one of its own."""


@contextlib.contextmanager
def no_longer_than(seconds: int) -> t.Iterator[None]:
    def hang(_number: int, _frame: t.Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def plant(cache: Path, place: str, kind: str, outside: Path) -> None:
    path = Path(os.path.normpath(cache / "models--Qwen--Qwen3-8B-FP8" / place))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    KINDS[kind](path, outside)


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


RSYNC = f"#!{sys.executable}\nimport shutil, sys\nshutil.copyfile(*sys.argv[-2:])\n"


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ssh_server, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(locks, "open_files", lambda *wanted: ({}, True))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "rsync").write_text(RSYNC)
    (tmp_path / "bin" / "rsync").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text(SECRET)
    Repo(tmp_path / "source").model()
    repo = Repo(tmp_path / "hf").model()
    repo.add("config.json", json.dumps({"num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8}), "d" * 40)
    repo.share("extra.safetensors", b"x")
    (repo.path / "blobs" / f"{BLOB}.incomplete").write_text("x")
    (tmp_path / "hf" / ".locks" / repo.path.name).mkdir(parents=True)
    return tmp_path


@pytest.mark.in_turn(4)  # each kind, each module and each place always
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODULES)
def test_nothing_that_is_planted_does_harm(
    ground: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module, options = MODULES[name]
    outside = listing(ground / "outside")
    mask = os.umask(0o022)
    os.umask(mask)
    for place in PLACES:
        if kind == "sparse" and name in ("hf_cache_info", "hf_cache_clean") and place.startswith(f"blobs/{BLOB}"):
            continue  # its 8 GB are hashed, as they should be
        shutil.rmtree(ground / "tried", ignore_errors=True)
        shutil.copytree(ground / "hf", ground / "tried", symlinks=True)
        plant(ground / "tried", place, kind, ground / "outside")
        asked = {"path": str(ground / "tried"), **options}
        if "source" in asked:
            asked["source"] = str(ground / "source")
        with patch_module_args(asked), pytest.raises(SystemExit), no_longer_than(SECONDS):
            module.main()
        os.umask(mask)
        said = capsys.readouterr().out
        result = json.loads(said)
        assert "exception" not in result, (place, result)
        assert SECRET not in said, place
        assert not result.get("failed") or "\n" not in result["msg"], (place, result)
        assert listing(ground / "outside") == outside, place
