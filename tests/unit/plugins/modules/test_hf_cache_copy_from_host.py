# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy from another host: whether it is needed, its key, and why it failed."""

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy as hf_copy
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import export
from copy_host import Host
from hf_trees import COMMIT, safetensors

pytestmark = pytest.mark.usefixtures("warm_python")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_whether_a_copy_is_needed(host: Host) -> None:
    before = host.info(_ansible_check_mode=True)
    assert before == {
        **before,
        "changed": False,
        "complete": False,
        "commit": None,
        "snapshot": None,
        "missing": ["the snapshot"],
    }
    assert not host.path.exists()
    host.run()
    after = host.info()
    assert (after["complete"], after["commit"], after["missing"]) == (True, COMMIT, [])
    (Path(after["snapshot"]) / "config.json").unlink()
    assert (host.info()["complete"], host.info()["missing"]) == (False, ["config.json"])
    assert host.info(revision="../x")["msg"].startswith("revision: ")


def test_a_key_is_made_and_removed(host: Host) -> None:
    assert host.key(_ansible_check_mode=True)["changed"] is True
    assert not (host.folder / "run").exists()
    found = host.key()
    assert found["public_key"].startswith("ssh-ed25519 ")
    folder = Path(found["key_folder"])
    assert {path.stat().st_mode & 0o077 for path in (folder, folder / "key", folder.parent)} == {0}
    away = {"state": "absent", "key_folder": str(folder)}
    assert host.key(**away, _ansible_check_mode=True)["changed"] is True
    assert folder.exists()
    assert host.key(**away)["changed"] is True
    assert host.key(**away)["changed"] is False
    assert list((host.folder / "run").iterdir()) == []


@pytest.mark.parametrize("folder", ["/etc", "{run}", "{run}/../x", "{run}/a/b"])
def test_nothing_but_a_key_is_removed(host: Host, folder: str) -> None:
    (host.folder / "run" / "a" / "b").mkdir(parents=True)
    found = host.key(state="absent", key_folder=folder.format(run=host.folder / "run"))
    assert "is not allowed; use what hf_cache_copy_key returned" in found["msg"]
    assert (host.folder / "run" / "a" / "b").exists()


def test_a_copy_from_a_host_uses_its_key_and_removes_it(host: Host) -> None:
    key = host.key()["key_folder"]
    found = host.run(source=None, export=host.exported(), address="192.168.100.1", key_folder=key)
    assert found["complete"] is True, found
    assert found["received_bytes"] == found["bytes"] + 600
    call = host.calls.read_text().splitlines()[0]
    for part in (
        "-p 4022",
        "HostName=192.168.100.1",
        f"IdentityFile={key}/key",
        f"UserKnownHostsFile={key}/known_hosts",
        "StrictHostKeyChecking=yes",
        "ForwardAgent=no",
        f"root@source::{host.repo.name}/blobs/",
    ):
        assert part in call
    assert not Path(key).exists()
    host.assert_whole()


def test_an_address_with_a_zone_reaches_ssh_whole(host: Host) -> None:
    key = host.key()["key_folder"]
    host.run(source=None, export=host.exported(), address="fe80::1%eth0", key_folder=key)
    (option,) = re.findall(r"HostName=\S+", host.calls.read_text().splitlines()[0])
    shown = subprocess.run(["ssh", "-G", "-F", "/dev/null", "-o", option, "source"], capture_output=True, check=True)
    assert b"\nhostname fe80::1%eth0\n" in b"\n" + shown.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"export": {"commit": "x"}}, "export: is not what hf_cache_export returns"),
        ({"export": None, "address": "-oProxyCommand=x"}, "address: "),
    ],
)
def test_the_key_is_removed_whatever_happens(host: Host, change: dict[str, t.Any], said: str) -> None:
    key = host.key()["key_folder"]
    options = {"source": None, "export": host.exported(), "address": "spark01", "key_folder": key}
    found = host.run(**{**options, **{name: value or options[name] for name, value in change.items()}})
    assert said in found["msg"]
    assert not Path(key).exists()
    assert host.copied() == []


def test_a_folder_is_not_copied_onto_itself(host: Host) -> None:
    host.path.mkdir()
    exported = {**host.exported(), "identity": export.identity(str(host.path))}
    assert "this very folder" in host.run(source=None, export=exported, address="x", key_folder="/nothing")["msg"]


def test_a_key_folder_of_somebody_else_is_left_alone(host: Host) -> None:
    other = host.folder / "other"
    other.mkdir()
    host.run(source=None, export={}, address="x", key_folder=str(other))
    assert other.exists()


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (
            "ssh: connect to host 10.0.0.9 port 4022: Connection refused\nrsync error: x",
            "cannot be reached: ssh: connect",
        ),
        ("ssh: Could not resolve hostname spark9: Name or service not known", "a name that this host cannot resolve"),
        ("Host key verification failed.", "answered by another machine"),
        ("root@source: Permission denied (publickey).", "did not let this host in"),
        ("rsync: [receiver] write failed: No space left on device (28)", "the disk is full"),
        ("@ERROR: Unknown module 'x'\nrsync error: error starting", "rsync failed with code 5: @ERROR: Unknown module"),
        ("", "rsync failed with code 5: code 5"),
    ],
)
def test_why_rsync_failed_is_one_line(errors: str, said: str) -> None:
    cause, message = hf_copy.explain(5, errors)
    assert said in message
    told = {"the disk": "no_space", "rsync failed": "rsync_failed"}
    assert cause == next((name for start, name in told.items() if message.startswith(start)), "source_address")


def test_a_blob_of_the_store_comes_as_a_file(host: Host) -> None:
    blob = host.source.share("extra.safetensors", safetensors(64))
    host.run()
    assert (host.repo / "blobs" / blob.name).read_bytes() == safetensors(64)
    assert not (host.repo / "blobs" / blob.name).is_symlink()
