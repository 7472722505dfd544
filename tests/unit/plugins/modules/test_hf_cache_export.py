# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with stand-ins for sshd and systemd: the SSH server accepts one key and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import ssh_server
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_export
from hf_trees import COMMIT, SHARDS, Repo

pytestmark = pytest.mark.usefixtures("warm_python")
MODEL = "Qwen/Qwen3-8B-FP8"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0khmf063EQoewGW1c68NyWmWXAWOTU9ovtDYXjZ"

# A server that listens where its configuration says, and ends with its unit.
SYSTEMD_RUN = """#!{python}
import os, pathlib, socket, sys
here, argv = pathlib.Path({folder!r}), sys.argv[1:]
(here / "unit").write_text("\\n".join(argv))
if (here / "broken").exists():
    sys.exit("Failed to start transient service unit")
settings = dict(line.split(" ", 1) for line in pathlib.Path(argv[-1]).read_text().splitlines())
listener = socket.create_server((settings["ListenAddress"], int(settings["Port"])))
if pid := os.fork():
    (here / "pid").write_text(str(pid))
else:
    os.close(1), os.close(2)
    while True:
        listener.accept()[0].close()
"""
SYSTEMCTL = """#!{python}
import os, pathlib, signal, sys
pid = pathlib.Path({folder!r}, "pid")
if pid.exists():
    os.kill(int(pid.read_text()), signal.SIGKILL)
    pid.unlink()
"""


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.repo = Repo(folder / "hf").model()
        (folder / "bin").mkdir()
        for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL), ("sshd", ""), ("rsync", "")):
            tool = folder / "bin" / name
            tool.write_text(text.format(python=sys.executable, folder=str(folder)))
            tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}/bin", prepend=":")
        monkeypatch.setattr(ssh_server, "RUN", str(folder / "run"))
        monkeypatch.setattr(ssh_server, "RUN_SSHD", str(folder / "run-sshd"))
        self.run_folder = folder / "run"

    def run(self, **options: t.Any) -> dict[str, t.Any]:
        asked = {"model": MODEL, "path": str(self.repo.root), "address": "127.0.0.1", **options}
        with patch_module_args(asked), pytest.raises(SystemExit):
            hf_cache_export.main()
        found: dict[str, t.Any] = json.loads(self.capsys.readouterr().out)
        return found

    def files(self) -> list[Path]:
        return [path for path in self.run_folder.rglob("*") if path.is_file()] if self.run_folder.exists() else []


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> t.Iterator[Host]:
    host = Host(tmp_path, monkeypatch, capsys)
    yield host
    if (tmp_path / "pid").exists():
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_server_is_started_and_stopped(host: Host) -> None:
    exported = host.run(public_key=KEY)
    assert (exported["changed"], exported["commit"], exported["verified_bytes"]) == (True, COMMIT, exported["bytes"]), (
        exported
    )
    assert exported["host_key"].startswith("ssh-ed25519 AAAA")
    socket.create_connection(("127.0.0.1", exported["port"])).close()
    folder = host.run_folder / exported["unit"]
    assert {path.stat().st_mode & 0o077 for path in (host.run_folder, folder)} == {0}
    assert (folder / "authorized_keys").read_text() == f"restrict {KEY}\n"
    settings = (folder / "sshd_config").read_text().splitlines()
    assert f"ForceCommand {host.folder}/bin/rsync --server --daemon --config={folder}/rsyncd.conf ." in settings
    assert {"ListenAddress 127.0.0.1", "DisableForwarding yes", "PasswordAuthentication no", "PermitTTY no"} <= set(
        settings
    )
    rsyncd = (folder / "rsyncd.conf").read_text()
    assert rsyncd.endswith(f"[{host.repo.path.name}]\npath = {host.repo.path}\n")
    assert {"read only = yes", "use chroot = yes", "list = no"} <= set(rsyncd.splitlines())
    unit = (host.folder / "unit").read_text().splitlines()
    assert "--property=RuntimeMaxSec=600" in unit
    assert f"--property=ExecStopPost=/bin/rm -rf {folder}" in unit

    closed = host.run(state="absent", unit=exported["unit"])
    assert closed["changed"] is True
    assert host.files() == []
    deadline = time.monotonic() + 60  # the stand-in for systemctl does not wait for the end of what it kills
    while answers(exported["port"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert host.run(state="absent", unit=exported["unit"])["changed"] is False


@pytest.mark.parametrize("options", [{}, {"public_key": KEY}])
def test_check_mode_lists_the_files_and_starts_no_server(host: Host, options: dict[str, str]) -> None:
    exported = host.run(**options, _ansible_check_mode=True)
    assert (exported["changed"], exported["port"], len(exported["files"])) == (False, None, 5)
    assert host.files() == []
    assert exported["verified_bytes"] == 0  # check mode writes nothing, not even what it has seen


def test_a_server_needs_a_key(host: Host) -> None:
    assert host.run()["msg"] == "public_key: it is empty; use what hf_cache_copy_key returned"
    assert host.files() == []


def test_a_second_export_of_the_same_model_reads_it_no_more(host: Host) -> None:
    for seen in (True, False):
        exported = host.run(public_key=KEY)
        assert (exported["verified_bytes"] > 0) == seen
        host.run(state="absent", unit=exported["unit"])


def test_a_server_that_does_not_start_leaves_nothing(host: Host) -> None:
    (host.folder / "broken").touch()
    failed = host.run(public_key=KEY)
    assert failed["msg"] == "systemd-run failed: Failed to start transient service unit"
    assert host.files() == []


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "no.such.name.invalid", "a" * 300])
def test_an_address_that_is_not_of_this_host_opens_nothing(host: Host, address: str) -> None:
    failed = host.run(public_key=KEY, address=address)
    assert failed["msg"].startswith(f"address: {address} "), failed
    assert "\n" not in failed["msg"]
    assert host.files() == []


@pytest.mark.parametrize(
    ("wanted", "found", "listens"),
    [
        (
            "spark01",
            ["127.0.1.1"],
            "127.0.0.3",
        ),  # its own name, in its own /etc/hosts: the address of the default route
        ("spark01", ["127.0.1.1", "127.0.0.2"], "127.0.0.3"),
        ("127.0.0.1", ["127.0.0.1"], "127.0.0.1"),  # who says so means it
        ("::1", ["::1"], "::1"),
    ],
)
def test_a_name_that_only_this_host_can_use_means_the_default_route(
    monkeypatch: pytest.MonkeyPatch, wanted: str, found: list[str], listens: str
) -> None:
    def own_hosts_file(host: str, *rest: t.Any, **more: t.Any) -> t.Any:
        return [(0, 0, 0, "", (place, 0)) for place in found]

    if wanted == "::1" and not Path("/proc/net/if_inet6").read_text():
        pytest.skip("this machine has no IPv6")
    monkeypatch.setattr(socket, "getaddrinfo", own_hosts_file)
    monkeypatch.setattr(ssh_server, "default_address", lambda: [("127.0.0.3", 0)])
    assert ssh_server.free_port(wanted)[0] == listens


def test_a_host_without_a_network_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_server, "default_address", list)
    with pytest.raises(ssh_server.SshServerError, match="address: localhost is not an address of this host"):
        ssh_server.free_port("localhost")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "org/other"}, "org/other (main) is not there in"),
        ({"path": "/nothing/here"}, "/nothing/here does not exist"),
        ({"path": "/etc"}, "path: /etc is not allowed"),
        ({"revision": "a/../b"}, "revision: 'a/../b' is not allowed"),
        ({"public_key": "ssh-rsa AAAA"}, "public_key: is not allowed"),
        ({"public_key": f"{KEY}\nssh-ed25519 BBBB"}, "public_key: is not allowed"),
        ({"public_key": f'command="sh" {KEY}'}, "public_key: is not allowed"),
        ({"state": "absent", "unit": "ssh.service"}, "unit: 'ssh.service' is not allowed"),
        ({"state": "absent", "unit": "dgxspark-export-../../x"}, "is not allowed"),
    ],
)
def test_bad_input_is_one_line(host: Host, options: dict[str, t.Any], said: str) -> None:
    found = host.run(**{"public_key": KEY, **options})
    assert said in found["msg"]
    assert "\n" not in found["msg"]
    assert host.files() == []


def test_a_model_that_is_corrupt_is_not_exported(host: Host) -> None:
    blob = host.repo.blob(SHARDS[0])
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    failed = host.run(public_key=KEY)
    assert failed["msg"].startswith(f"{SHARDS[0]} (its content is not what its name says) in ")
    assert host.files() == []
