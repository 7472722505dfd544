# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are namespaces of this machine, with cables between them. Needs root.

Real are the interfaces and what `ip` does with them. netplan, systemd, lldpctl and perftest are stand-ins, and
/sys/class/net shows a ConnectX-7. The folders /etc/netplan and /run of a host lie in its HOME.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

from support.waiting import wait_until

ADAPTER = {
    "enp1s0f0np0": "0000:01:00.0",
    "enP2p1s0f0np0": "0002:01:00.0",
    "enp1s0f1np1": "0000:01:00.1",
    "enP2p1s0f1np1": "0002:01:00.1",
}
RAILS = list(ADAPTER)[:2]  # of port 0
MANAGEMENT = "enP7s7"

# A host sees its own files, and none of this machine's services.
MOUNTS = """
hostname "$NAME"
mount -t sysfs sysfs "$HOME/sys"
mount -t tmpfs tmpfs "$HOME/over"
mkdir -p "$HOME/over/upper/netplan" "$HOME/over/work"
mount -t overlay overlay -o lowerdir=/etc,upperdir="$HOME/over/upper",workdir="$HOME/over/work" /etc
mount --bind "$HOME/etc/netplan" /etc/netplan
mount --bind "$HOME/net" /sys/class/net
mount --bind "$HOME/run" /run
exec sleep 900
"""
# The file of /run hides that of /etc.
STANDIN_NETPLAN = r"""
import os, re, sys
root = sys.argv[3] if sys.argv[1] == "generate" else ""
found = {}
for folder in ("/lib/netplan", "/etc/netplan", "/run/netplan"):
    for name in sorted(os.listdir(root + folder) if os.path.isdir(root + folder) else []):
        if name.endswith(".yaml"):
            found[name] = open(f"{root}{folder}/{name}").read()
for name, text in found.items():
    if "broken" in text:
        sys.exit(f"{root}/etc/netplan/{name}:1:1: Error in network definition: broken")
if sys.argv[1] == "apply":
    open(HOME + "/applied", "a").write("x")
    lines = []
    for text in found.values():
        for name, address in re.findall(r"^    (\S+):\n      addresses: \[(.*)\]", text, re.M):
            lines.append(f"address replace {address} dev {name}\n")
        for name, mtu in re.findall(r"^    (\S+):\n(?:      .*\n)*?      mtu: (\d+)", text, re.M):
            lines.append(f"link set {name} mtu {mtu}\n")
    open(HOME + "/batch", "w").writelines(lines)
    os.execlp("ip", "ip", "-batch", HOME + "/batch")
"""
# A timer is a process: `systemctl stop` ends it, or fails where it has ended. SIGUSR1 is the end of its time.
STANDIN_SYSTEMD_RUN = r"""
import os, signal, sys
(seconds,) = (float(word[12:-1]) for word in sys.argv if word.startswith("--on-active="))
command = sys.argv[sys.argv.index("/bin/sh"):]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
process = os.fork()
if process:
    open(HOME + "/timer", "w").write(f"{process} {seconds}")
else:
    os.setsid()
    for descriptor in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    signal.sigtimedwait([signal.SIGUSR1], seconds)
    os.unlink(HOME + "/timer")
    os.spawnv(os.P_WAIT, command[0], command)
    open(HOME + "/elapsed", "w").close()
"""
STANDIN_SYSTEMCTL = r"""
import os, signal, sys
assert sys.argv[1:] == ["stop", "dgxspark-fabric-fallback.timer"], sys.argv
try:
    os.kill(int(open(HOME + "/timer").read().split()[0]), signal.SIGTERM)
    os.unlink(HOME + "/timer")
except OSError:
    sys.exit(5)
"""
# The client has the last word, an address.
STANDIN_IB_WRITE_BW = r"""
import sys
assert sys.argv[1:3] in (["-d", "rocep1s0f0"], ["-d", "roceP2p1s0f0"]), sys.argv
if sys.argv[-1].startswith("192.168.10"):
    print(" 65536      353241           0.00               92.59  		   0.176603")
"""
# Half of a round trip, in microseconds.
STANDIN_IB_WRITE_LAT = r"""
import sys
assert sys.argv[1:3] in (["-d", "rocep1s0f0"], ["-d", "roceP2p1s0f0"]), sys.argv
if sys.argv[-1].startswith("192.168.10"):
    print(" 2       1000          1.93           9.41         2.04       2.06    0.11    2.31    9.41")
"""
STANDIN_LLDPCTL = r"""
import json
print(json.dumps({"lldp": [{"interface": json.load(open(HOME + "/lldp.json"))}]}))
"""
STANDINS = {
    "lldpctl": STANDIN_LLDPCTL,
    "netplan": STANDIN_NETPLAN,
    "systemd-run": STANDIN_SYSTEMD_RUN,
    "systemctl": STANDIN_SYSTEMCTL,
    "ib_write_bw": STANDIN_IB_WRITE_BW,
    "ib_write_lat": STANDIN_IB_WRITE_LAT,
}
# Runs modules, each with its options. One process, because imports take time.
RUN = r"""
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import link_speed, neighbors
from ansible_collections.dgxspark.vllm.plugins.modules import fabric_info, fabric_measure, fabric_netplan
link_speed.send.__defaults__ = (0.3,)  # seconds
link_speed.ANSWER = 0.1
neighbors.answers.__defaults__ = (0.15,)
modules = {"fabric_info": fabric_info, "fabric_measure": fabric_measure, "fabric_netplan": fabric_netplan}
for line in sys.stdin:
    name, options, fabric_netplan.WAIT = json.loads(line)
    try:
        with patch_module_args(options):
            modules[name].main()
    except SystemExit:
        sys.stdout.flush()
"""


@functools.cache
def missing() -> str:
    """What this machine lacks for such hosts; empty if nothing."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if not shutil.which("ip"):
        return "needs the package iproute2"
    # of a new namespace: Docker turns IPv6 off in that of a container alone
    asked = "cat /proc/sys/net/ipv6/conf/all/disable_ipv6 || echo 1"
    run = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", asked], capture_output=True, check=False, text=True
    )
    if run.returncode:
        return f"no namespaces here: {run.stderr.strip()}"
    return "" if run.stdout.strip() == "0" else "needs IPv6"


class Host:
    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("etc/netplan", "run/netplan", "over", "net", "bin", "sys"):
            (home / name).mkdir(parents=True)
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "/bin/sh", "-ec", MOUNTS],
            env={**os.environ, "HOME": str(home), "NAME": home.name},
        )
        wait_until(lambda: Path(f"/proc/{self.process.pid}/comm").read_text() == "sleep\n", "it is there", 60, 0.01)
        self.enter = ["nsenter", "--target", str(self.process.pid), "--net", "--mount", "--uts"]
        for name, text in STANDINS.items():
            self.program(name, f"#!{sys.executable} -ISB\nHOME = {str(home)!r}\n{text}")
        # what Ansible runs as Python: inside, and with the stand-ins
        path, inside = f"{home}/bin:{os.environ['PATH']}", " ".join(self.enter)
        self.python = self.program("python", f'#!/bin/sh\nPATH={path} exec {inside} {sys.executable} "$@"\n')
        self._modules: subprocess.Popen[str] | None = None

    def program(self, name: str, text: str) -> Path:
        program = self.home / "bin" / name
        program.write_text(text)
        program.chmod(0o755)
        return program

    def stop(self) -> None:
        if (self.home / "timer").exists():
            os.kill(self.timer()[0], signal.SIGTERM)
        for process in filter(None, (self._modules, self.process)):
            process.kill()
            process.wait()

    def timer(self) -> tuple[int, float]:
        """Process and seconds of the timer that runs."""
        process, seconds = (self.home / "timer").read_text().split()
        return int(process), float(seconds)

    def elapse(self) -> None:
        """The time of the timer is over, and what it runs has ended."""
        (self.home / "elapsed").unlink(missing_ok=True)
        os.kill(self.timer()[0], signal.SIGUSR1)
        wait_until((self.home / "elapsed").exists, "the timer has elapsed", pause=0.01)

    def command(self, *words: str, lines: t.Iterable[str] = ()) -> str:
        """LINES are its input."""
        done = subprocess.run(
            [*self.enter, *words],
            input="".join(f"{line}\n" for line in lines),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}"
        return done.stdout

    def module(self, name: str, wait: float = 3.0, **options: t.Any) -> dict[str, t.Any]:
        """The result of a module."""
        self.start(name, wait, **options)
        return self.result()

    def start(self, name: str, wait: float = 3.0, **options: t.Any) -> None:
        if self._modules is None:
            argv = [str(self.python), "-c", RUN]
            self._modules = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        options.update(_ansible_check_mode=options.pop("check", False), _ansible_diff=True)
        assert self._modules.stdin is not None
        self._modules.stdin.write(json.dumps([name, options, wait]) + "\n")
        self._modules.stdin.flush()

    def result(self) -> dict[str, t.Any]:
        """Of the module that was started."""
        assert self._modules is not None
        assert self._modules.stdout is not None
        while True:
            line = self._modules.stdout.readline()
            assert line, "the process has ended"
            if line.startswith("{"):
                found: dict[str, t.Any] = json.loads(line)
                return found

    def links(self) -> dict[str, dict[str, t.Any]]:
        """What `ip` says of each interface but loopback."""
        found = json.loads(self.command("ip", "-j", "addr"))
        return {entry["ifname"]: entry for entry in found if entry["ifname"] != "lo"}

    def addresses(self, family: str = "inet") -> dict[str, list[str]]:
        """Addresses by interface, of interfaces that have some."""
        found = {
            name: [
                f"{each['local']}/{each['prefixlen']}"
                for each in entry["addr_info"]
                if each["family"] == family and not each.get("tentative")
            ]
            for name, entry in self.links().items()
        }
        return {name: texts for name, texts in found.items() if texts}

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Content and mode of each file of netplan."""
        return {
            str(path.relative_to(self.home)): (path.read_bytes(), path.stat().st_mode & 0o7777)
            for path in self.home.glob("*/netplan/*")
            if path.is_file()
        }

    def show_adapter(self, names: t.Collection[str] = RAILS) -> None:
        """These interfaces are functions of a ConnectX-7 in /sys/class/net. What a veth has too is its own."""
        for folder in (self.home / "net").iterdir():
            shutil.rmtree(folder)
        for name in names:
            device, folder = self.home / "pci" / ADAPTER[name], self.home / "net" / name
            folder.mkdir()
            (device / "infiniband" / name.replace("en", "roce", 1).partition("np")[0]).mkdir(
                parents=True, exist_ok=True
            )
            (folder / "device").symlink_to(device)
            values = {"device/vendor": "0x15b3", "device/device": "0x1021", "speed": "200000"}
            for file, value in {**values, "phys_port_name": name[-2:]}.items():
                (folder / file).write_text(f"{value}\n")
            for file in ("flags", "carrier", "mtu", "address"):
                (folder / file).symlink_to(self.home / "sys" / "class" / "net" / name / file)

    def reset(self) -> None:
        for path in self.home.glob("*/netplan/*"):
            path.unlink()
        for name in RAILS:
            self.command("ip", "-4", "address", "flush", "dev", name)
            self.command("ip", "link", "set", name, "mtu", "1500", "up")


class Pair:
    """spark01 and spark02 with a cable, and a management network with a default route."""

    def __init__(self, folder: Path) -> None:
        self.one, self.two = self.hosts = (Host(folder / "spark01"), Host(folder / "spark02"))
        for name in (*RAILS, MANAGEMENT):
            peer = ["type", "veth", "peer", "name", name, "netns", str(self.two.process.pid)]
            self.one.command("ip", "link", "add", name, *peer)
        for number, host in enumerate(self.hosts, 1):
            for name in (*RAILS, MANAGEMENT, "lo"):
                host.command("ip", "link", "set", name, "up")
            host.command("ip", "address", "add", f"192.168.1.{40 + number}/24", "dev", MANAGEMENT)
            host.command("ip", "route", "add", "default", "via", "192.168.1.1")
            host.show_adapter()

    def stop(self) -> None:
        for host in self.hosts:
            host.stop()
