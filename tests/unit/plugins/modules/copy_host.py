# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a model on a disk, and a program that stands in for rsync, and can be cut off anywhere."""

from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy as hf_copy
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import export
from ansible_collections.dgxspark.vllm.plugins.modules import (
    hf_cache_copy,
    hf_cache_copy_info,
    hf_cache_copy_key,
    hf_cache_info,
)
from hf_trees import Repo

MODEL = "Qwen/Qwen3-8B-FP8"

# As --append-verify: goes on at the end of what is there, and takes all of it when the beginning is another one.
RSYNC = """#!{python}
import fcntl, pathlib, sys
here, argv = pathlib.Path({folder!r}), sys.argv[1:]
source, target = argv[-2:]
if source.startswith("root@source::"):
    source = {origin!r} + "/" + source[len("root@source::"):]
content, there = pathlib.Path(source).read_bytes(), pathlib.Path(target)
have = there.read_bytes() if there.exists() else b""
if not content.startswith(have):
    have = b""
rest = content[len(have):]
with (here / "calls").open("a") as calls:
    fcntl.flock(calls, fcntl.LOCK_EX)
    number = len((here / "calls").read_text().splitlines())
    calls.write(" ".join(argv) + "\\n")
cut = (here / "cut")
if cut.exists() and int(cut.read_text()) <= number:
    there.write_bytes(have + rest[: len(rest) // 2])
    print("rsync: connection unexpectedly closed (0 bytes received so far) [receiver]", file=sys.stderr)
    sys.exit(12)
there.write_bytes(have + rest)
print(f"Literal data: {{len(rest)}} bytes\\nTotal bytes received: {{len(rest) + 100}}")
"""


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.source = Repo(folder / "disk").model()
        self.source.add("sub/merges.txt", "a b")
        self.path = folder / "hf"
        self.repo = self.path / self.source.path.name
        self.calls = folder / "calls"
        (folder / "bin").mkdir()
        rsync = folder / "bin" / "rsync"
        rsync.write_text(RSYNC.format(python=sys.executable, folder=str(folder), origin=str(folder / "disk")))
        rsync.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}/bin", prepend=":")
        monkeypatch.setattr(hf_copy, "KEYS", str(folder / "run"))
        look = locks.open_files
        monkeypatch.setattr(locks, "open_files", lambda *wanted: (look(*wanted)[0], True))

    def run(self, **options: t.Any) -> dict[str, t.Any]:
        self.calls.write_text("")
        arguments = {"model": MODEL, "path": str(self.path), "source": str(self.source.root), "keep_free": 0, **options}
        return self.call(hf_cache_copy, **{name: value for name, value in arguments.items() if value is not None})

    def info(self, **options: t.Any) -> dict[str, t.Any]:
        return self.call(hf_cache_copy_info, model=MODEL, path=str(self.path), **options)

    def key(self, **options: t.Any) -> dict[str, t.Any]:
        return self.call(hf_cache_copy_key, **options)

    def call(self, module: ModuleType, **arguments: t.Any) -> dict[str, t.Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        found: dict[str, t.Any] = json.loads(self.capsys.readouterr().out)
        return found

    def copied(self) -> list[str]:
        """Names of the blobs that rsync was asked for."""
        return [os.path.basename(call.split()[-2]) for call in self.calls.read_text().splitlines()]

    def exported(self) -> dict[str, t.Any]:
        exported = export.find(str(self.source.root), MODEL, "main")
        return {**export.describe(exported), "identity": "other", "port": 4022, "host_key": "ssh-ed25519 AAAA"}

    def assert_whole(self) -> None:
        source, here = self.source.path, self.repo
        for folder in ("blobs", "snapshots", "refs"):
            links = {p.relative_to(source): os.readlink(p) for p in (source / folder).rglob("*") if p.is_symlink()}
            assert links == {p.relative_to(here): os.readlink(p) for p in (here / folder).rglob("*") if p.is_symlink()}
            files = {p.relative_to(source): p.read_bytes() for p in (source / folder).rglob("*") if p.is_file()}
            assert files == {p.relative_to(here): p.read_bytes() for p in (here / folder).rglob("*") if p.is_file()}
        found = hf_cache_info.read_cache(str(self.path), [MODEL], "full", None)
        assert found["models"][0]["complete"] is True
        assert (found["broken"], found["partials"]) == ([], [])
