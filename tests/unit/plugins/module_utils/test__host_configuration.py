# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import grp
import hashlib
import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import configuration

SHOWN = """\
Id=earlyoom.service
Names=earlyoom.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no

Id=docker.service
Names=docker.service other.service
LoadState=loaded
ActiveState=failed
UnitFileState=disabled
NeedDaemonReload=yes
ConflictedBy=vllm-b.service shutdown.target

Id=gone.service
Names=gone.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
NeedDaemonReload=no
"""


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("a=ü\n")
    path.chmod(0o2644)
    assert configuration.read_file(str(path)) == {
        "type": "file",
        "owner": pwd.getpwuid(os.getuid()).pw_name,
        "group": grp.getgrgid(path.stat().st_gid).gr_name,
        "uid": os.getuid(),
        "gid": path.stat().st_gid,
        "mode": "2644",
        "sha256": hashlib.sha256("a=ü\n".encode()).hexdigest(),
        "content": "a=ü\n",
    }


def test_what_not_every_user_may_read_stays_on_the_host(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text("TOKEN=x\n")
    path.chmod(0o640)
    read = configuration.read_file(str(path))
    assert (read["content"], read["sha256"]) == (None, hashlib.sha256(b"TOKEN=x\n").hexdigest())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a" * (configuration.MAX_CONTENT_BYTES + 1)])
def test_what_is_no_short_text_is_hashed_only(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    path.chmod(0o644)
    read = configuration.read_file(str(path))
    assert (read["content"], read["sha256"]) == (None, hashlib.sha256(content).hexdigest())


def test_other_types(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")  # must not be opened: nobody writes into it
    kinds = {name: configuration.read_file(str(tmp_path / name))["type"] for name in ("link", "fifo", "gone", "file/x")}
    assert kinds == {"link": "link", "fifo": "other", "gone": "absent", "file/x": "absent"}
    folder = configuration.read_file(str(tmp_path))
    assert (folder["type"], folder["sha256"], folder["content"]) == ("directory", None, None)
    assert configuration.read_file("/a\0b")["type"] == "unknown"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("vm.swappiness", "vm/swappiness"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("../../etc/passwd", "etc/passwd"),
        ("/../../etc/passwd", "etc/passwd"),
    ],
)
def test_files_of_kernel_parameters(name: str, path: str) -> None:
    assert configuration.sysctl_path(name, "/root").startswith("/root/")
    if ".." not in name:
        assert configuration.sysctl_path(name, "/root") == f"/root/{path}"


def test_kernel_parameters(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "rmem").write_text("4096\t131072\t6291456\n")
    assert configuration.read_sysctl("net.rmem", str(tmp_path)) == "4096 131072 6291456"
    assert configuration.read_sysctl("net.wmem", str(tmp_path)) is None
    assert configuration.read_sysctl("net", str(tmp_path)) is None
    assert configuration.read_sysctl("a\0", str(tmp_path)) is None


def test_units() -> None:
    asked = ["earlyoom.service", "other.service", "gone.service", "never-shown.service"]
    assert configuration.parse_units(SHOWN, asked) == {
        "earlyoom.service": {
            "load_state": "loaded",
            "active_state": "active",
            "unit_file_state": "enabled",
            "needs_reload": False,
            "conflicted_by": [],
        },
        "other.service": {
            "load_state": "loaded",
            "active_state": "failed",
            "unit_file_state": "disabled",
            "needs_reload": True,
            "conflicted_by": ["vllm-b.service"],
        },
        "gone.service": {
            "load_state": "not-found",
            "active_state": "inactive",
            "unit_file_state": "",
            "needs_reload": False,
            "conflicted_by": [],
        },
    }


@pytest.mark.parametrize("text", ["", "\n\n\n", "garbage", "\0=\n\n=\n"])
def test_units_of_garbage(text: str) -> None:
    assert configuration.parse_units(text, ["earlyoom.service"]) == {}


@pytest.mark.parametrize(
    ("folders", "model", "in_hub"),
    [
        ([], None, False),
        (["models--a--b"], None, False),
        (["hub", "hub/.locks"], None, False),
        (["hub/models--a--b"], None, True),
        (["hub/models--a--b"], "a/other", True),  # it joins the others of the owner
        (["hub/models--a--b", "models--a--c"], None, False),
        (["hub/models--a--b", "models--a--c"], "a/b", True),
        (["hub/models--a--b", "models--a--c"], "a/c", False),
        (["hub/models--a--b", "models--a--b"], "a/b", False),
    ],
)
def test_models_in_the_folder_hub(tmp_path: Path, folders: list[str], model: str | None, in_hub: bool) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    assert configuration.cache_folder(str(tmp_path), model) == str(tmp_path / "hub" if in_hub else tmp_path)


def test_no_cache_is_none_with_a_folder_hub(tmp_path: Path) -> None:
    assert configuration.cache_folder(str(tmp_path / "none")) == str(tmp_path / "none")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "models--a--b").write_text("a file")
    (tmp_path / "hub" / "models--a\x1b[31m--b").mkdir()
    assert configuration.cache_folder(str(tmp_path)) == str(tmp_path)
