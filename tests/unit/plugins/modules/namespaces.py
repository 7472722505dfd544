# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts in network namespaces, and stand-ins for netplan and systemd that act on their real interfaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

from support.waiting import wait_until

RAILS = ("enp1s0f0np0", "enP2p1s0f0np0")
FILE = "60-dgxspark-fabric.yaml"

# netplan reads what the modules have written: the file of /run hides that of /etc.
STANDIN_NETPLAN = r"""
import pathlib, re, subprocess, sys
root = pathlib.Path(sys.argv[3] if sys.argv[1] == "generate" else "/")
found = {}
for folder in ("lib", "etc", "run"):
    for path in sorted(root.joinpath(HOME[1:], folder, "netplan").glob("*.yaml")):
        found[path.name] = path.read_text()
for name, text in found.items():
    if "broken" in text:
        sys.exit(f"{root}{HOME}/etc/netplan/{name}:1:1: Error in network definition: broken")
if sys.argv[1] == "apply":
    open(HOME + "/calls", "a").write("netplan apply\n")
    for text in found.values():
        for name, address in re.findall(r"^    (\S+):\n      addresses: \[(.*)\]", text, re.M):
            subprocess.run(["ip", "address", "replace", address, "dev", name], check=not address.startswith("203."))
        for name, mtu in re.findall(r"^    (\S+):\n(?:      .*\n)*?      mtu: (\d+)", text, re.M):
            subprocess.run(["ip", "link", "set", name, "mtu", mtu], check=True)
"""
# The timer is a process: `systemctl stop` ends it, or fails where it has ended.
STANDIN_SYSTEMD_RUN = r"""
import os, re, subprocess, sys, time
seconds = float(next(re.search(r"--on-active=(\S+)s", word)[1] for word in sys.argv if "--on-active" in word))
command = sys.argv[sys.argv.index("/bin/sh"):]
if os.fork() == 0:
    os.setsid()
    for descriptor in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    open(HOME + "/timer", "w").write(str(os.getpid()))
    time.sleep(seconds)
    os.unlink(HOME + "/timer")
    subprocess.run(command)
"""
STANDIN_SYSTEMCTL = r"""
import os, signal, sys
assert sys.argv[1:] == ["stop", "dgxspark-fabric-fallback.timer"], sys.argv
try:
    os.kill(int(open(HOME + "/timer").read()), signal.SIGTERM)
    os.unlink(HOME + "/timer")
except OSError:
    sys.exit(5)
"""
# Runs modules, each with its options, on a host whose files lie in HOME. One process, because imports take time.
RUN = r"""
import json, os, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import fabric, link_speed
from ansible_collections.dgxspark.vllm.plugins.modules import fabric_measure, fabric_netplan
home = sys.argv[1]
fabric.FOLDERS = tuple(f"{home}/{each}/netplan" for each in ("run", "etc", "lib"))
fabric.FILE, fabric.TRIAL = (f"{home}/{each}/netplan/60-dgxspark-fabric.yaml" for each in ("etc", "run"))
link_speed.send.__defaults__ = (0.3,)  # seconds
os.environ["PATH"] = f"{home}/bin:" + os.environ["PATH"]
for line in sys.stdin:
    name, options, fabric_netplan.WAIT = json.loads(line)
    try:
        with patch_module_args(options):
            {"fabric_netplan": fabric_netplan, "fabric_measure": fabric_measure}[name].main()
    except SystemExit:
        sys.stdout.flush()
"""


class Host:
    def __init__(self, folder: Path) -> None:
        self.home = folder
        for name in ("run", "etc", "lib"):
            (folder / name / "netplan").mkdir(parents=True)
        (folder / "bin").mkdir()
        for name, text in (
            ("netplan", STANDIN_NETPLAN),
            ("systemd-run", STANDIN_SYSTEMD_RUN),
            ("systemctl", STANDIN_SYSTEMCTL),
        ):
            program = folder / "bin" / name
            program.write_text(f"#!{sys.executable} -IB\nHOME = {str(folder)!r}\n{text}")
            program.chmod(0o755)
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != own, "the namespace is there", 10, 0.01)
        self.enter = ["nsenter", "--target", str(self.process.pid), "--net"]
        self.modules = subprocess.Popen(
            [*self.enter, sys.executable, "-c", RUN, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> None:
        timer = self.home / "timer"
        if timer.exists():
            os.kill(int(timer.read_text()), signal.SIGTERM)
        for process in (self.modules, self.process):
            process.kill()
            process.wait()

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [*self.enter, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}"
        return done.stdout

    def module(self, name: str, wait: float = 3.0, **options: t.Any) -> dict[str, t.Any]:
        """The result of a module."""
        options.update(_ansible_check_mode=options.pop("check", False), _ansible_diff=True)
        assert self.modules.stdin is not None
        assert self.modules.stdout is not None
        self.modules.stdin.write(json.dumps([name, options, wait]) + "\n")
        self.modules.stdin.flush()
        while True:
            line = self.modules.stdout.readline()
            assert line, "the process has ended"
            if line.startswith("{"):
                found: dict[str, t.Any] = json.loads(line)
                return found

    def addresses(self) -> dict[str, list[str]]:
        """IPv4 addresses by interface, without loopback."""
        found = json.loads(self.command("ip", "-j", "-4", "addr"))
        return {
            entry["ifname"]: [f"{each['local']}/{each['prefixlen']}" for each in entry["addr_info"]]
            for entry in found
            if entry["ifname"] != "lo" and entry["addr_info"]
        }

    def mtu(self, name: str) -> int:
        return int(json.loads(self.command("ip", "-j", "link", "show", name))[0]["mtu"])

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Content and mode of each file of netplan."""
        return {
            str(path.relative_to(self.home)): (path.read_bytes(), path.stat().st_mode & 0o7777)
            for path in self.home.glob("*/netplan/*")
        }

    def reset(self) -> None:
        for path in self.home.glob("*/netplan/*"):
            path.unlink()
        for name in RAILS:
            self.command("ip", "-4", "address", "flush", "dev", name)
            self.command("ip", "link", "set", name, "mtu", "1500", "up")


class Pair:
    """spark01 and spark02 with a cable, which has two rails, and a management network."""

    def __init__(self, folder: Path) -> None:
        self.one, self.two = Host(folder / "spark01"), Host(folder / "spark02")
        for name in (*RAILS, "enP7s7"):
            peer = ["type", "veth", "peer", "name", name, "netns", str(self.two.process.pid)]
            self.one.command("ip", "link", "add", name, *peer)
        self.one.command("ip", "address", "add", "192.168.1.41/24", "dev", "enP7s7")
        for host in (self.one, self.two):
            for name in (*RAILS, "enP7s7", "lo"):
                host.command("ip", "link", "set", name, "up")

    def stop(self) -> None:
        self.one.stop()
        self.two.stop()
