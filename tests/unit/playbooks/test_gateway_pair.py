# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gateway.yml on two hosts that are namespaces, and share an address: the real HAProxy and the real keepalived.

In the order of the file. systemd and dpkg are stand-ins, and no server is ready behind the gateways.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from support.haproxy import program
from support.namespaces import MANAGEMENT, Host, Pair, missing
from support.playbook import AnsiblePlaybook, Run
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

VIRTUAL, PORT = "192.168.1.50", 8080
KEY = "ada-0123456789abcdef"
CONFIGURATION = "/etc/keepalived/keepalived.conf"
CONNECTIONS = 10
# Starts what the unit starts, with the file that the drop-in names.
SYSTEMCTL = r"""
import os, pathlib, re, signal, subprocess, sys, time
PROGRAMS = {"haproxy.service": ["haproxy", "-W", "-f", "CONFIG"], "keepalived.service": ["keepalived", "--dont-fork"]}
SIGNALS = {"haproxy.service": signal.SIGUSR2, "keepalived.service": signal.SIGHUP}
words = [word for word in sys.argv[1:] if not word.startswith("-")]
action, units = words[0], words[1:]
folder = pathlib.Path(HOME)

def pid(unit):
    try:
        found = int((folder / unit).read_text())
        return 0 if ") Z " in pathlib.Path(f"/proc/{found}/stat").read_text() else found
    except (OSError, ValueError):
        return 0

def start(unit):
    drop_in = pathlib.Path("/etc/systemd/system/haproxy.service.d/dgxspark.conf")
    config = re.search('CONFIG=(.*)"', drop_in.read_text())[1]
    argv = [config if word == "CONFIG" else word for word in PROGRAMS[unit]]
    with open(folder / (unit + ".log"), "a") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (folder / unit).write_text(str(process.pid))
    time.sleep(0.5)

def stop(unit):
    os.kill(pid(unit), signal.SIGTERM)
    while pid(unit):
        time.sleep(0.05)

if action == "show":
    for unit in units:
        active = "active" if pid(unit) else "inactive"
        enabled = "enabled" if (folder / (unit + ".enabled")).exists() else "disabled"
        print(f"Id={unit}\nLoadState=loaded\nActiveState={active}\nUnitFileState={enabled}\nNeedDaemonReload=no\n")
for unit in units if action != "show" else []:
    with open(folder / "asked", "a") as asked:
        asked.write(f"{action} {unit}\n")
    if action in ("enable", "disable"):
        (folder / (unit + ".enabled")).touch()
        if action == "disable":
            (folder / (unit + ".enabled")).unlink()
    elif action == "is-enabled":
        is_enabled = (folder / (unit + ".enabled")).exists()
        print("enabled" if is_enabled else "disabled")
        sys.exit(not is_enabled)
    elif action == "reload":
        os.kill(pid(unit), SIGNALS[unit])
    if action in ("stop", "restart") and pid(unit):
        stop(unit)
    if action in ("start", "restart"):
        start(unit)
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
USER = "grep -q haproxy: /etc/passwd || { echo haproxy:x:990:990::/:/bin/false >>/etc/passwd; echo haproxy:x:990: >>/etc/group; }"


class Gateways:
    def __init__(self, folder: Path, ansible_playbook: AnsiblePlaybook) -> None:
        self.pair = Pair(folder)
        self.hosts = dict(zip(("gw1", "gw2"), self.pair.hosts, strict=True))
        for host in self.hosts.values():
            host.program("systemctl", f"#!/usr/bin/env -S python3 -IB\nHOME = {str(host.home)!r}\n{SYSTEMCTL}")
            host.program("dpkg", "#!/bin/sh\n")
            for name in ("haproxy", "keepalived"):
                host.program(name, f'#!/bin/sh\nexec {program(name)} "$@"\n')
                host.command("mkdir", "-p", f"/etc/{name}")  # the package has it
            host.command("sh", "-c", USER)
        self._ansible_playbook = ansible_playbook
        self._inventory = folder / "hosts.yml"
        self.write()

    def write(self, **variables: t.Any) -> None:
        """The inventory, with these VARIABLES of the gateways."""
        gateways = {
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": str(host.python),
                "ansible_become": False,
                "ansible_host": f"192.168.1.{40 + number}",
                "__gateway_chroot": str(host.home),
            }
            for number, (name, host) in enumerate(self.hosts.items(), 1)
        }
        common = {
            "gateway_keys": [{"name": "ada", "key": KEY}],
            "gateway_virtual_address": f"{VIRTUAL}/24",
            "gateway_address": VIRTUAL,
            "gateway_connections": CONNECTIONS,
            **variables,
        }
        spark = {"ansible_host": "192.168.1.43", "vllm_publish_address": "0.0.0.0", "vllm_api_key": "0123456789abcdef"}
        spark["vllm_image"] = "nvcr.io/nvidia/vllm:26.07-py3"
        groups = {"spark": {"hosts": {"spark01": spark}}, "gateway": {"hosts": gateways, "vars": common}}
        self._inventory.write_text(yaml.safe_dump(groups))

    def run(self, *arguments: str, **variables: t.Any) -> Run:
        return self._ansible_playbook(
            "playbooks/gateway.yml", *arguments, inventory=self._inventory, timeout=500, **variables
        )

    def holders(self) -> list[str]:
        return [name for name, host in self.hosts.items() if f"{VIRTUAL}/24" in host.addresses().get(MANAGEMENT, [])]

    def statuses(self) -> list[str]:
        """What a client on each host gets at the address."""
        return [host.command("python3", "-c", ASK).strip() for host in self.hosts.values()]

    def files(self) -> dict[str, str]:
        """What is in the folders of both packages, and of our drop-in, with mode and digest."""
        command = ["find", "/etc/haproxy", "/etc/keepalived", "/etc/systemd/system", "-printf", "%p %m\n", "-type", "f"]
        command += ["-exec", "sha256sum", "{}", "+"]
        return {name: host.command(*command) for name, host in self.hosts.items()}

    def asked(self, name: str) -> list[str]:
        """Of systemd, since the last time."""
        path = self.hosts[name].home / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return [line for line in lines if not line.startswith("is-enabled")]

    def stop(self) -> None:
        for host in self.hosts.values():
            for unit in ("keepalived.service", "haproxy.service"):
                subprocess.run([*host.enter, str(host.home / "bin" / "systemctl"), "stop", unit], check=False, env={"PATH": "/usr/bin:/bin"})
        self.pair.stop()


@pytest.fixture(scope="module", name="gateways")
def _gateways(tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook) -> t.Iterator[Gateways]:
    found = Gateways(tmp_path_factory.mktemp("gateways"), ansible_playbook)
    yield found
    found.stop()


def test_what_has_another_owner_is_refused_before_any_change(gateways: Gateways) -> None:
    before = gateways.files()
    one, two = gateways.hosts.values()
    one.command("sh", "-c", f"echo 'global_defs {{}}' >{CONFIGURATION}")
    two.command("ip", "address", "add", f"{VIRTUAL}/24", "dev", MANAGEMENT)
    run = gateways.run()
    assert f"gw1: {CONFIGURATION} has another owner. Nothing was changed." in run.words, run.output
    assert f"gw2: {MANAGEMENT} has {VIRTUAL} already. Nothing was changed." in run.words
    assert [run.count(name, "changed") for name in gateways.hosts] == [0, 0]
    assert one.command("cat", CONFIGURATION) == "global_defs {}\n"
    one.command("rm", CONFIGURATION)
    two.command("ip", "address", "del", f"{VIRTUAL}/24", "dev", MANAGEMENT)
    assert gateways.files() == before


def test_it_is_set_up_and_a_second_run_changes_nothing(gateways: Gateways) -> None:
    before = gateways.files()
    preview = gateways.run("--check", "--diff")
    assert preview.code == 0, preview.output
    assert f"+        {VIRTUAL}/24" in preview.output
    assert gateways.files() == before

    run = gateways.run()
    assert run.code == 0, run.output
    assert len(gateways.holders()) == 1
    assert gateways.statuses() == ["200", "200"]
    for name in gateways.hosts:
        assert {"enable haproxy.service", "enable keepalived.service"} < set(gateways.asked(name))

    files = gateways.files()
    again = gateways.run("--diff")
    assert again.code == 0, again.output
    assert [again.count(name, "changed") for name in gateways.hosts] == [0, 0], again.output
    assert [gateways.asked(name) for name in gateways.hosts] == [[], []]
    assert gateways.files() == files


def moves(gateways: Gateways, name: str) -> None:
    """The address comes to NAME alone, soon, and a client on either host gets an answer."""
    began = time.monotonic()
    wait_until(lambda: gateways.holders() == [name], "the address moves", timeout=15, pause=0.05)
    print(f"moved in {time.monotonic() - began:.1f} s")
    assert gateways.statuses() == ["200", "200"]


def signal_to(host: Host, pattern: str, number: int) -> None:
    """To the processes of the host whose command line has the pattern: those in its namespace."""
    for pid in host.command("ip", "netns", "identify").split():
        raise AssertionError(pid)
