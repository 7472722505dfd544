# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks

SHA256 = "a" * 64
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
    assert locks.filesystem_type(path, MOUNTINFO) == kind


def test_filesystem_type_of_this_machine() -> None:
    assert locks.filesystem_type("/proc/self", Path("/proc/self/mountinfo").read_text()) == "proc"


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
    assert locks.short_command(cmdline) == command


def test_command_of_a_process() -> None:
    argv = ["worker hf_AbCdEfGh12345678"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, executable=shutil.which("cat"), stdin=pipe, stdout=pipe, bufsize=0) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"up\n")  # its answer proves that the program has started, and so has its command line
        assert process.stdout.readline() == b"up\n"
        assert locks.command_of(process.pid) == "worker hf_***"


def test_command_of_a_process_that_is_gone() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert locks.command_of(process.pid) is None


def test_open_files_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / f"{SHA256}.incomplete"
    path.touch()
    inode = (path.stat().st_dev, path.stat().st_ino)
    with (
        path.open("ab") as file,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(file.fileno(),)) as process,
    ):
        holders, _all_seen = locks.open_files({inode})
        assert holders == {inode: process.pid}  # not this process, although it has it open too
        process.communicate()
    assert locks.open_files({inode})[0] == {}


def test_processes_that_cannot_be_looked_at_are_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    listdir: t.Callable[[str], list[str]] = os.listdir

    def refuse(path: str) -> list[str]:
        if path == "/proc/1/fd":
            raise PermissionError
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert locks.open_files(set())[1] is False
