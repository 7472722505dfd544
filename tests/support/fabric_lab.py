# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparks of network namespaces, cabled and configured as a situation says. Needs root.

All interfaces end at a panel, another namespace. What is at one cable, or at one switch, is at one bridge there: both
rails of a port are on its cable. The controller is at the panel, too, behind the router of the management network.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import subprocess
import typing as t
from pathlib import Path

from support.fabric_situations import HOSTS, NAMES, Situation, written
from support.namespaces import ADAPTER, MANAGEMENT, Host
from support.waiting import wait_until

# An address of the network that the cables get: a route to them is a wrong one for the controller.
CONTROLLER = "192.168.100.99"
ROUTER = "192.168.1.1"
OWN_FILE = "60-dgxspark-fabric.yaml"
# Pings from one address to another, and says how many have been answered.
PING = """
import sys
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import link_speed
link_speed.ANSWER = 0.15
for line in sys.stdin:
    print(link_speed.ping(*line.split(), 84, 1).received, flush=True)
"""


class Lab:
    def __init__(self, folder: Path) -> None:
        self.panel = Host(folder / "panel")
        self.hosts = {number: Host(folder / f"spark{number:02}") for number in range(1, HOSTS + 1)}
        for host in self.hosts.values():  # an address can be used at once
            host.command("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
        self.panel.command("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")  # it answers nobody
        lines = ["link add name mgmt type bridge", f"address add {ROUTER}/24 dev mgmt", "link set mgmt up"]
        lines += [f"address add {CONTROLLER}/32 dev lo", "link set lo up"]
        for number, host in self.hosts.items():
            ends = {MANAGEMENT: f"m{number}", **{name: socket(number, *where) for where, name in NAMES.items()}}
            lines += [
                f"link add name {end} type veth peer name {name} netns {host.process.pid}" for name, end in ends.items()
            ]
            lines += [f"link set m{number} master mgmt up"]
        self.batch(self.panel, lines)
        for number, host in self.hosts.items():
            lines = [f"link set {name} up" for name in ("lo", MANAGEMENT)]
            lines += [f"address add 192.168.1.{40 + number}/24 dev {MANAGEMENT}", f"route add default via {ROUTER}"]
            self.batch(host, lines)
        self.cabled = 0
        argv = [str(self.panel.python), "-c", PING]
        self.pings = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop(self) -> None:
        self.pings.kill()
        self.pings.wait()
        for host in (self.panel, *self.hosts.values()):
            host.stop()

    @staticmethod
    def batch(host: Host, lines: t.Iterable[str]) -> None:
        host.command("ip", "-batch", "-", lines=lines)

    def arrange(self, situation: Situation) -> list[Host]:
        """The hosts of the group."""
        lines = [f"link delete cable{index}" for index in range(self.cabled)]
        self.cabled = len(situation.cables)
        sockets = {(number, *where): socket(number, *where) for number in self.hosts for where in NAMES}
        self.batch(self.panel, [*lines, *(f"link set {name} down" for name in sockets.values())])
        for number, host in self.hosts.items():
            self._configure(situation, number, host)
        lines = []
        for index, ends in enumerate(situation.cables):
            lines += [f"link add name cable{index} type bridge mcast_snooping 0"]
            lines += [f"link set cable{index} arp off up"]
            names = [sockets[number, port, rail] for number, port in ends for rail in (0, 1)]
            lines += [f"link set {name} master cable{index} up" for name in names]
        self.batch(self.panel, lines)
        for number, host in self.hosts.items():
            ports = [port for ends in situation.cables for end, port in ends if end == number]
            wanted = {NAMES[port, rail] for port in ports for rail in (0, 1)} - {*situation.down.get(number, ())}
            ready = functools.partial(self._is_ready, host, wanted, situation.silent)
            wait_until(ready, f"the cables of {host.home.name} are there", timeout=60, pause=0.02)
        return [self.hosts[number] for number in range(1, situation.hosts + 1)]

    @staticmethod
    def _is_ready(host: Host, wanted: t.Collection[str], is_silent: bool) -> bool:
        links = host.links()
        up = {name for name in ADAPTER if links[name]["operstate"] == "UP"}
        heard = {name for name in up if any(each["family"] == "inet6" for each in links[name]["addr_info"])}
        enslaved = {name for name in up if "master" in links[name]}
        return up == wanted and heard - enslaved == (set() if is_silent else up - enslaved)

    def _configure(self, situation: Situation, number: int, host: Host) -> None:
        host.show_adapter([name for name in ADAPTER if name not in situation.unseen.get(number, ())])
        lines = []
        for name in ADAPTER:
            mode = "none" if situation.silent else "eui64"
            lines += [f"link set {name} nomaster down addrgenmode {mode} mtu 1500", f"address flush dev {name}"]
            lines += [] if name in situation.down.get(number, ()) else [f"link set {name} up"]
        lines += ["link delete br0"] if "br0" in host.links() else []
        lines += [f"route flush dev {MANAGEMENT} root 192.168.96.0/19"]
        earlier = situation.earlier.get(number, {})
        lines += [f"address add {text} dev {name}" for name, text in earlier.items()]
        if number in situation.addresses:
            name, text = situation.addresses[number]
            lines += [f"address add {text} dev {name}"]
        if number in situation.routes:
            lines += ["route add {} dev {}".format(*situation.routes[number])]
        for name in situation.management.get(number, ()):
            lines += [f"route add default dev {name} metric 900"]
        if number in situation.bridged:
            lines += ["link add name br0 type bridge", f"link set {situation.bridged[number]} master br0"]
        self.batch(host, lines)
        for path in host.home.glob("*/netplan/*"):
            path.unlink()
        folder = host.home / "etc" / "netplan"
        for index, (name, text) in enumerate(situation.files.get(number, {}).items()):
            (folder / name).write_text(text)
            (folder / name).chmod((0o600, 0o644)[index % 2])
        if earlier:
            (folder / OWN_FILE).write_text(written(earlier))
            (folder / OWN_FILE).chmod(0o600)
        (host.home / "lldp.json").unlink(missing_ok=True)
        if number in situation.lldp:
            port, name, interface = situation.lldp[number]
            entry: dict[str, t.Any] = {"name": port, "chassis": [{"name": [{"value": name}]}]}
            entry["port"] = [{"id": [{"type": "ifname", "value": interface}]}]
            (host.home / "lldp.json").write_text(json.dumps([entry]))

    def reaches(self, host: Host) -> bool:
        """Whether the controller reaches it."""
        (address,) = host.addresses()[MANAGEMENT]
        assert self.pings.stdin is not None
        assert self.pings.stdout is not None
        self.pings.stdin.write(f"{CONTROLLER} {ipaddress.IPv4Interface(address).ip}\n")
        self.pings.stdin.flush()
        return self.pings.stdout.readline() == "1\n"


def cuts_the_controller(addresses: t.Iterable[str]) -> bool:
    """Whether a host with these would answer it by a cable."""
    return any(ipaddress.IPv4Address(CONTROLLER) in ipaddress.IPv4Interface(text).network for text in addresses)


def socket(number: int, port: int, rail: int) -> str:
    """Where the panel has this interface."""
    return f"s{number}p{port}r{rail}"


def network(host: Host) -> dict[str, t.Any]:
    """Addresses, MTU and routes by interface."""
    found: dict[str, dict[str, t.Any]] = {
        name: {
            "mtu": entry["mtu"],
            "addresses": sorted(f"{each['local']}/{each['prefixlen']}" for each in entry["addr_info"]),
            "routes": [],
        }
        for name, entry in host.links().items()
    }
    for family in ("-4", "-6"):
        for line in host.command("ip", family, "route", "show", "table", "all").splitlines():
            words = line.split()
            found.setdefault(words[words.index("dev") + 1], {"routes": []})["routes"].append(line)
    return found
