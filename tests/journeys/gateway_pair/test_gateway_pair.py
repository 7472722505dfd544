# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two gateways that share an address: the role's tasks for keepalived, on two hosts that are namespaces.

HAProxy and keepalived are real, systemd and dpkg stand-ins. HAProxy has the role's configuration, and runs already.
The tests build on each other, in the order of the file.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.virtual_address import Member

from support import haproxy
from support.namespaces import MANAGEMENT, Pair
from support.paths import ROOT
from support.playbook import AnsiblePlaybook, Run
from support.waiting import wait_until

VIRTUAL, PORT = "192.168.1.50", 8080
KEY = "ada-0123456789abcdef"
KEYS = [{"name": "ada", "key": KEY}]
CONFIGURATION = "/etc/keepalived/keepalived.conf"
CONNECTIONS = 10
SYSTEMCTL = r"""
import os, pathlib, signal, subprocess, sys, time
words = [word for word in sys.argv[1:] if not word.startswith("-")]
action, units = words[0], words[1:]
pid_file, enabled = pathlib.Path(HOME, "keepalived.pid"), pathlib.Path(HOME, "keepalived.enabled")

def pid():
    try:
        found = int(pid_file.read_text())
        return 0 if ") Z " in pathlib.Path(f"/proc/{found}/stat").read_text() else found
    except OSError:
        return 0

for unit in units if action == "show" else []:
    active = "active" if unit == "haproxy.service" or pid() else "inactive"
    print(f"Id={unit}\nLoadState=loaded\nActiveState={active}\nNeedDaemonReload=no\n")
if action not in ("show", "is-enabled"):
    assert units == ["keepalived.service"], sys.argv
    with open(HOME + "/asked", "a") as asked:
        asked.write(action + "\n")
if action == "is-enabled":
    print("enabled" if enabled.exists() else "disabled")
    sys.exit(not enabled.exists())
elif action == "enable":
    enabled.touch()
elif action == "disable":
    enabled.unlink()
elif action == "reload":
    os.kill(pid(), signal.SIGHUP)
elif action == "stop":
    os.kill(pid(), signal.SIGTERM)
    while pid():
        time.sleep(0.05)
elif action == "start":
    with open(HOME + "/keepalived.log", "a") as log:
        argv = ["keepalived", "--dont-fork", "--log-console"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    pid_file.write_text(str(process.pid))
"""
# A client: prints the status that it gets at the address.
ASK = f"""
import http.client
connection = http.client.HTTPConnection("{VIRTUAL}", {PORT}, timeout=3)
connection.request("GET", "/v1/models", headers={{"Authorization": "Bearer {KEY}"}})
print(connection.getresponse().status)
"""
# All connections that HAProxy takes, and some that wait.
FILL = f"""
import socket, sys
held = [socket.create_connection(("{VIRTUAL}", {PORT})) for _each in range({CONNECTIONS} + 20)]
print("full", flush=True)
sys.stdin.read()
"""


class Gateways:
    """gw1 and gw2, with a server that neither of them reaches."""

    def __init__(self, folder: Path, ansible_playbook: AnsiblePlaybook) -> None:
        self.folder, self._ansible_playbook = folder, ansible_playbook
        self.pair = Pair(folder)
        self.hosts = dict(zip(("gw1", "gw2"), self.pair.hosts, strict=True))
        self.engine = haproxy.Engine("m", "spark01")
        members = [Member(name, f"192.168.1.4{number}", f"{VIRTUAL}/24") for number, name in enumerate(self.hosts, 1)]
        variables = {"gateway_address": VIRTUAL, "gateway_connections": CONNECTIONS}
        for host in self.hosts.values():
            (host.home / "haproxy").mkdir()
            haproxy.write(host.home / "haproxy", [self.engine], KEYS, variables, members)
            host.program("systemctl", f"#!/usr/bin/env -S python3 -IB\nHOME = {str(host.home)!r}\n{SYSTEMCTL}")
            host.program("dpkg", "#!/bin/sh\n")
            for name in ("haproxy", "keepalived"):
                host.program(name, f'#!/bin/sh\nexec {haproxy.program(name)} "$@"\n')
            drop_in = "/etc/systemd/system/haproxy.service.d"
            host.command("mkdir", "-p", "/etc/keepalived", "/etc/haproxy/dgxspark", drop_in)
            host.command("touch", f"{drop_in}/dgxspark.conf", "/etc/haproxy/dgxspark/loaded")
        self.haproxy = {name: self._start(name) for name in self.hosts}

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        host = self.hosts[name]
        with (host.home / "haproxy.log").open("a") as log:
            argv = [*host.enter, haproxy.program("haproxy"), "-W", "-f", str(host.home / "haproxy" / "haproxy.cfg")]
            return subprocess.Popen(argv, stdout=log, stderr=log)

    def start_haproxy(self, name: str) -> None:
        self.haproxy[name] = self._start(name)

    def stop_haproxy(self, name: str) -> None:
        self.haproxy[name].terminate()
        self.haproxy[name].wait(20)

    def run(self, *arguments: str, task: str = "virtual_address.yml", **variables: t.Any) -> Run:
        """The role's checks, and then this file of its tasks."""
        spark = {"ansible_host": "192.168.1.43", "vllm_publish_address": "0.0.0.0", "vllm_api_key": KEY}
        spark["vllm_image"] = "nvcr.io/nvidia/vllm:26.07-py3"
        gateways = {
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": str(host.python),
                "ansible_host": f"192.168.1.4{number}",
            }
            for number, (name, host) in enumerate(self.hosts.items(), 1)
        }
        common = {"gateway_keys": KEYS, "gateway_virtual_address": f"{VIRTUAL}/24", "gateway_address": VIRTUAL}
        groups = {
            "spark": {"hosts": {"spark01": spark}},
            "gateway": {"hosts": gateways, "vars": {**common, **variables}},
        }
        inventory, play = self.folder / "hosts.yml", self.folder / "play.yml"
        inventory.write_text(yaml.safe_dump(groups))
        files = ["validate.yml", "preflight.yml", task]
        tasks = [
            {"include_role": {"name": "dgxspark.vllm.gateway", "tasks_from": file, "rolespec_validate": False}}
            for file in files
        ]
        play.write_text(yaml.safe_dump([{"hosts": "gateway", "gather_facts": False, "tasks": tasks}]))
        return self._ansible_playbook(play, *arguments, inventory=inventory, timeout=500)

    def changed(self, run: Run) -> list[int]:
        return [run.count(name, "changed") for name in self.hosts]

    def holders(self, prefix: int = 24) -> list[str]:
        text = f"{VIRTUAL}/{prefix}"
        return [name for name, host in self.hosts.items() if text in host.addresses().get(MANAGEMENT, [])]

    def statuses(self) -> list[str]:
        """What a client on each host gets at the address."""
        return [host.command("python3", "-c", ASK).strip() for host in self.hosts.values()]

    def files(self) -> list[str]:
        command = ["find", "/etc/haproxy", "/etc/keepalived", "-type", "f", "-exec", "sha256sum", "{}", "+"]
        return [host.command(*command) for host in self.hosts.values()]

    def asked(self) -> list[list[str]]:
        """Of systemd, since the last time."""
        found = []
        for host in self.hosts.values():
            path = host.home / "asked"
            found.append(path.read_text().split() if path.exists() else [])
            path.write_text("")
        return found

    def moves_to(self, name: str) -> None:
        """The address comes to NAME alone, and a client on either host gets an answer."""
        began = time.monotonic()
        wait_until(lambda: self.holders() == [name], f"{name} has the address", timeout=30, pause=0.05)
        print(f"moved in {time.monotonic() - began:.1f} s")
        assert self.statuses() == ["200", "200"]

    def holder_and_other(self) -> tuple[str, str]:
        (holder,) = self.holders()
        return holder, "gw2" if holder == "gw1" else "gw1"

    def stop(self) -> None:
        for name, host in self.hosts.items():
            self.stop_haproxy(name)
            if (host.home / "keepalived.pid").exists():
                host.command("/bin/sh", "-c", f"kill {(host.home / 'keepalived.pid').read_text()} || true")
        self.engine.stop()
        self.pair.stop()


@pytest.fixture(scope="module")
def programs() -> None:
    for name in ("haproxy", "keepalived"):
        subprocess.run([ROOT / "tools" / "unpack.sh", name], check=True)


@pytest.fixture(scope="module", name="gateways")
def _gateways(
    programs: None, tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook
) -> Iterator[Gateways]:
    found = Gateways(tmp_path_factory.mktemp("gateways"), ansible_playbook)
    yield found
    found.stop()


def test_what_has_another_owner_is_refused_before_any_change(gateways: Gateways) -> None:
    one, two = gateways.hosts.values()
    one.command("sh", "-c", f"echo 'global_defs {{}}' >{CONFIGURATION}")
    two.command("ip", "address", "add", f"{VIRTUAL}/24", "dev", MANAGEMENT)
    before = gateways.files()
    run = gateways.run()
    assert f"gw1: {CONFIGURATION} has another owner. Nothing was changed." in run.words, run.output
    assert f"gw2: {MANAGEMENT} has {VIRTUAL} already. Nothing was changed." in run.words
    assert (gateways.changed(run), gateways.files()) == ([0, 0], before)
    one.command("rm", CONFIGURATION)
    two.command("ip", "address", "del", f"{VIRTUAL}/24", "dev", MANAGEMENT)


def test_it_is_set_up_and_a_second_run_changes_nothing(gateways: Gateways) -> None:
    before = gateways.files()
    preview = gateways.run("--check", "--diff")
    assert preview.code == 0, preview.output
    assert f"+        {VIRTUAL}/24" in preview.output
    assert (gateways.files(), gateways.asked()) == (before, [[], []])

    run = gateways.run()
    assert run.code == 0, run.output
    assert gateways.asked() == [["enable", "start"]] * 2
    gateways.moves_to(*gateways.holders())

    files = gateways.files()
    again = gateways.run("--diff")
    assert again.code == 0, again.output
    assert (gateways.changed(again), gateways.asked(), gateways.files()) == ([0, 0], [[], []], files), again.output


def test_it_moves_when_haproxy_stops_and_not_back(gateways: Gateways) -> None:
    holder, other = gateways.holder_and_other()
    gateways.stop_haproxy(holder)
    gateways.moves_to(other)
    gateways.start_haproxy(holder)
    until = time.monotonic() + 8
    while time.monotonic() < until:
        assert gateways.holders() == [other]
        time.sleep(0.5)
    assert gateways.statuses() == ["200", "200"]


def test_a_gateway_that_is_full_keeps_it(gateways: Gateways) -> None:
    """The other one would get all of its clients, and break off what is in progress."""
    holder, other = gateways.holder_and_other()
    argv = [*gateways.hosts[other].enter, "python3", "-c", FILL]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdout is not None
        assert clients.stdout.readline() == "full\n"
        gateways.hosts[holder].command("/etc/haproxy/dgxspark/check")
        time.sleep(6)
        assert gateways.holders() == [holder]
        clients.communicate("")


@contextmanager
def frozen(parent: int) -> Iterator[None]:
    """This process and its children."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    processes = [parent, *map(int, children)]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


def test_it_moves_when_haproxy_hangs(gateways: Gateways) -> None:
    holder, other = gateways.holder_and_other()
    with frozen(gateways.haproxy[holder].pid):
        gateways.moves_to(other)


def test_it_moves_when_the_host_says_nothing_more_and_one_has_it_when_it_is_back(gateways: Gateways) -> None:
    holder, other = gateways.holder_and_other()
    with frozen(int((gateways.hosts[holder].home / "keepalived.pid").read_text())):
        wait_until(lambda: other in gateways.holders(), "the other one has it", timeout=30, pause=0.05)
    wait_until(lambda: len(gateways.holders()) == 1, "one gives it up", timeout=30, pause=0.05)


def test_a_change_is_a_reload_and_two_that_have_it_are_named(gateways: Gateways) -> None:
    # unicast goes to nobody
    wrong = ["lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", MANAGEMENT]
    addresses = ["192.168.1.42", "192.168.1.41"]
    for host, address in zip(gateways.hosts.values(), addresses, strict=True):
        host.command("ip", "neigh", "replace", address, *wrong)
    wait_until(lambda: len(gateways.holders()) == 2, "each believes to be alone", timeout=30, pause=0.05)
    gateways.asked()
    run = gateways.run(gateway_virtual_address=f"{VIRTUAL}/25")
    assert f"gw1 and gw2 both have {VIRTUAL}, because they do not hear each other: let the IP protocol 112" in run.words
    assert gateways.asked() == [["reload"]] * 2

    for host, address in zip(gateways.hosts.values(), addresses, strict=True):
        host.command("ip", "neigh", "del", address, "dev", MANAGEMENT)
    wait_until(lambda: len(gateways.holders(25)) == 1, "one gives it up", timeout=30, pause=0.05)
    assert gateways.holders() == []


def test_it_is_removed_to_the_byte(gateways: Gateways) -> None:
    run = gateways.run(task="remove_virtual_address.yml", gateway_virtual_address="")
    assert run.code == 0, run.output
    assert gateways.asked() == [["disable", "stop"]] * 2
    assert gateways.holders(25) == []
    assert [re.findall(r"/\S+", files) for files in gateways.files()] == [["/etc/haproxy/dgxspark/loaded"]] * 2
