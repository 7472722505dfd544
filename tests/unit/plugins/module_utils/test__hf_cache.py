# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils import _hf_cache

SHA256 = "a" * 64
SHA1 = "b" * 40

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /opt rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
31 30 254:1 / /opt/hf rw,relatime - xfs /dev/nvme0n1p3 rw
32 22 0:30 / /mnt/with\\040blank rw - fuse.sshfs host:/x rw
33 22 0:31 / /mnt/twice rw - tmpfs tmpfs rw
34 33 0:32 / /mnt/twice rw - lustre host:/y rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/optional", "ext4"),
        ("/opt", "nfs4"),
        ("/opt/models", "nfs4"),
        ("/opt/hf", "xfs"),
        ("/opt/hf/models--Qwen--Qwen3-8B-FP8", "xfs"),
        ("/mnt/with blank/hf", "fuse.sshfs"),
        ("/mnt/twice", "lustre"),
    ],
)
def test_filesystem_type(path: str, kind: str) -> None:
    assert _hf_cache.filesystem_type(path, MOUNTINFO) == kind


def test_filesystem_type_of_this_machine() -> None:
    assert _hf_cache.filesystem_type("/proc/self", Path("/proc/self/mountinfo").read_text()) == "proc"


def test_vllm_lock_is_named_as_vllm_names_it() -> None:
    digest = "42b5cf3901ac6d20d16b85ede67f582136ab9d900f2bc2219f2241b8192201c2"
    assert _hf_cache.vllm_lock("/opt/hf", "Qwen/Qwen3-8B-FP8") == f"/opt/hf/{digest}Qwen-Qwen3-8B-FP8.lock"


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B-FP8", "nvidia/Llama-3.1-8B-Instruct-FP8", "a/b", "_org/name.v1"])
def test_model_ids(name: str) -> None:
    _hf_cache.check_models([name])


@pytest.mark.parametrize(
    "name", ["gpt2", "a/b/c", "../etc", "a/..", "a/.b", "/a/b", "a--b/c", "a/b\n", "", "a b/c", "*/*"]
)
def test_names_that_are_no_model_ids(name: str) -> None:
    with pytest.raises(_hf_cache.CacheError, match="use ORGANISATION/NAME, like"):
        _hf_cache.check_models(["Qwen/Qwen3-8B-FP8", name])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (f"{SHA256}.incomplete", True),
        (f"{SHA1}.incomplete", True),
        (f"{SHA256}.0123abcd.incomplete", True),
        (f"{SHA256}", False),
        (f"{SHA256[:-1]}.incomplete", False),
        (f"{SHA256}.0123abc.incomplete", False),
        (f"{SHA256}.0123abcd.incomplete.bak", False),
        (f"x{SHA1}.incomplete", False),
        ("model.safetensors.incomplete", False),
        (f"{SHA256.upper()}.incomplete", False),
        ("tmp_5f0c8a1e", False),
    ],
)
def test_names_of_partials(tmp_path: Path, name: str, found: bool) -> None:
    blobs = tmp_path / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / name).write_bytes(b"x")
    (repository,) = _hf_cache.find_repositories(str(tmp_path), [])
    assert [partial.path for partial in repository.partials] == ([str(blobs / name)] if found else [])


def test_locks_of_a_partial(tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{SHA256}.0123abcd.incomplete").touch()
    (repository,) = _hf_cache.find_repositories(str(tmp_path), ["org/name"])
    (partial,) = repository.partials
    assert partial.locks == [
        _hf_cache.vllm_lock(str(tmp_path), "org/name"),
        _hf_cache.vllm_lock(str(tmp_path / "hub"), "org/name"),
        str(tmp_path / "hub" / ".locks" / "models--org--name" / f"{SHA256}.lock"),
    ]


@pytest.mark.parametrize("folder", ["", "my-model", "org/my-model"])
def test_partials_in_plain_folders(tmp_path: Path, folder: str) -> None:
    download = tmp_path / folder / ".cache" / "huggingface" / "download" / "sub"
    download.mkdir(parents=True)
    partial = download / f"jUMPnwXjNAWlzUOlDYcfxIHSY-g=.{SHA256}.incomplete"
    for path in (partial, download / f"{SHA256}.incomplete", download / "config.json.lock"):
        path.touch()
    (found,) = _hf_cache.find_local_partials(str(tmp_path))
    assert (found.path, found.repo_id) == (str(partial), None)
    assert found.locks == [str(download / "config.json.lock")]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, cache = tmp_path / "outside", tmp_path / "cache"
    blobs = outside / "models--org--name" / "blobs"
    download = outside / ".cache" / "huggingface" / "download"
    for folder in (blobs, download, cache / "models--org--linked-blobs", cache / "folder"):
        folder.mkdir(parents=True)
    (blobs / f"{SHA256}.incomplete").touch()
    (download / f"x.{SHA256}.incomplete").touch()
    (cache / "hub").symlink_to(outside)
    (cache / "models--org--name").symlink_to(outside / "models--org--name")
    (cache / "models--org--linked-blobs" / "blobs").symlink_to(blobs)
    (cache / "linked-folder").symlink_to(outside)
    (cache / "folder" / ".cache").symlink_to(outside / ".cache")
    repositories, partials = _hf_cache.scan(str(cache), [])
    assert [repository.repo_id for repository in repositories] == ["org/linked-blobs"]
    assert partials == []


@pytest.mark.parametrize(
    ("cmdline", "command"),
    [
        ("/usr/bin/python3\0/usr/bin/vllm\0serve\0--api-key\0s3cret\0", "/usr/bin/python3 /usr/bin/vllm"),
        ("vllm\0--api-key=s3cret\0", "vllm --api-key=***"),
        ("vllm\0--hf-token=s3cret\0", "vllm --hf-token=***"),
        ("worker\0hf_AbCdEfGh12345678\0", "worker hf_***"),
        ("VLLM::Worker --token s3cret hf_AbCdEfGh12345678", "VLLM::Worker --token"),  # a title set by the process
        ("x" * 500, "x" * 120),
        ("", ""),
    ],
)
def test_commands_without_secrets(cmdline: str, command: str) -> None:
    assert _hf_cache.short_command(cmdline) == command


def test_command_of_a_process() -> None:
    argv = ["worker hf_AbCdEfGh12345678"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, executable=shutil.which("cat"), stdin=pipe, stdout=pipe, bufsize=0) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"up\n")  # its answer proves that the program has started, and so has its command line
        assert process.stdout.readline() == b"up\n"
        assert _hf_cache.command_of(process.pid) == "worker hf_***"


def test_command_of_a_process_that_is_gone() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert _hf_cache.command_of(process.pid) is None


def test_open_files_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / f"{SHA256}.incomplete"
    path.touch()
    inode = (path.stat().st_dev, path.stat().st_ino)
    with (
        path.open("ab") as file,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(file.fileno(),)) as process,
    ):
        holders, _all_seen = _hf_cache.open_files({inode})
        assert holders == {inode: process.pid}  # not this process, although it has it open too
        process.communicate()
    assert _hf_cache.open_files({inode})[0] == {}


def test_processes_that_cannot_be_looked_at_are_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    listdir: t.Callable[[str], list[str]] = os.listdir

    def refuse(path: str) -> list[str]:
        if path == "/proc/1/fd":
            raise PermissionError
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert _hf_cache.open_files(set())[1] is False
