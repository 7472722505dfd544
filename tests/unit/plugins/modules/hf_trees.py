# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Caches in the layout that huggingface_hub makes, built by hand."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import typing as t
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks

Run = t.Callable[..., dict[str, t.Any]]
COMMIT = "c" * 40
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def runner(module: ModuleType, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a module on the cache ROOT, and returns what it says.

    Whoever runs the tests may not see the processes of others, but sees those of the tests.
    """
    look = locks.open_files
    monkeypatch.setattr(locks, "open_files", lambda *asked: (look(*asked)[0], True))

    def run(**options: t.Any) -> dict[str, t.Any]:
        with patch_module_args({"path": str(root), **options}), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def paths(root: Path, entries: list[dict[str, t.Any]]) -> set[str]:
    return {os.path.relpath(entry["path"], root) for entry in entries}


def safetensors(size: int = 16, filling: bytes = b"x") -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + filling * size


class Repo:
    """A repository. Blobs are named as the hub names them: large files by SHA-256, others as git does."""

    def __init__(self, root: Path, name: str = "Qwen/Qwen3-8B-FP8", kind: str = "models") -> None:
        self.root = root
        self.path = root / f"{kind}--{name.replace('/', '--')}"
        (self.path / "blobs").mkdir(parents=True)

    def add(self, name: str, content: bytes | str = "x", commit: str = COMMIT) -> Path:
        data = content.encode() if isinstance(content, str) else content
        large = name.endswith((".safetensors", ".bin"))
        etag = hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)
        blob = self.path / "blobs" / etag.hexdigest()
        blob.write_bytes(data)
        self.link(name, blob.name, commit)
        return blob

    def link(self, name: str, etag: str, commit: str = COMMIT) -> Path:
        link = self.path / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(self.path / "blobs" / etag, link.parent))
        return link

    def share(self, name: str, content: bytes, xet: str = "5" * 64) -> Path:
        """A file whose content is in the store that repositories share. Returns the blob, which is a link."""
        store = self.root / "blobs" / xet[:2]
        store.mkdir(parents=True, exist_ok=True)
        (self.root / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
        (store / xet).write_bytes(content)
        (store / f"{xet}.lock").touch()
        blob = self.path / "blobs" / hashlib.sha256(content).hexdigest()
        blob.symlink_to(f"../../blobs/{xet[:2]}/{xet}")
        with (store / f"{xet}.refs").open("a") as refs:
            refs.write(f"{self.path.name}/blobs/{blob.name}\n")
        self.link(name, blob.name)
        return blob

    def ref(self, name: str = "main", commit: str = COMMIT) -> Path:
        path = self.path / "refs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    def index(self, *shards: str) -> Path:
        weights = {f"layer.{number}": shard for number, shard in enumerate(shards)}
        return self.add("model.safetensors.index.json", json.dumps({"weight_map": weights}))

    def manifest(self, **sizes: int) -> None:
        (self.path / "trees").mkdir()
        files = {name.replace("__", "."): {"size": size} for name, size in sizes.items()}
        (self.path / "trees" / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": files}))

    def file(self, name: str, commit: str = COMMIT) -> Path:
        return self.path / "snapshots" / commit / name

    def blob(self, name: str) -> Path:
        return self.path / "blobs" / os.path.basename(os.readlink(self.file(name)))

    def model(self) -> Repo:
        """All files of a whole model."""
        self.ref()
        self.add("config.json", "{}")
        self.add("tokenizer.json", "{ }")
        self.index(*SHARDS)
        for number, shard in enumerate(SHARDS):
            self.add(shard, safetensors(16 + number))
        return self


class LocalFolder:
    """A plain folder that was the target of a download."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.download = path / ".cache" / "huggingface" / "download"
        self.download.mkdir(parents=True)

    def add(self, name: str, content: bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        (self.download / f"{name}.metadata").write_text(f"{COMMIT}\n{hashlib.sha256(content).hexdigest()}\n1712.5\n")
        (self.download / f"{name}.lock").touch()
        return path


def cut(repo: Repo) -> list[Path]:
    os.truncate(repo.blob(SHARDS[0]), 60)
    return [repo.blob(SHARDS[0]), repo.file(SHARDS[0])]
