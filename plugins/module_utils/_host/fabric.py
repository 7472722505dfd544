# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ConnectX-7 of a Spark: its ports, their addresses, who configures them and who is at the other end.

Each of the two QSFP ports has two PCIe functions ("twins"), each with half of the speed: the rails of the port.
"""

from __future__ import annotations

import fnmatch
import os
import re
import typing as t

from .._outside.text import plain
from .._outside.values import mapping, parse_json, sequence, whole
from .._outside.values import text as string

Facts = dict[str, t.Any]

FILE = "/etc/netplan/60-dgxspark-fabric.yaml"
# A file in /run hides the one with the same name in /etc, and is gone after a reboot.
TRIAL = "/run/netplan/60-dgxspark-fabric.yaml"
MARKER = "# Managed by dgxspark.vllm, role fabric."
FOLDERS = ("/run/netplan", "/etc/netplan", "/lib/netplan")  # a file hides those of the same name in later ones

VENDOR, CONNECTX7 = "0x15b3", "0x1021"


def read(path: str) -> str:
    """Empty if it cannot be read: carrier and speed of an interface that is down give EINVAL."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def read_ports(sys_class_net: str = "/sys/class/net") -> list[Facts]:
    """The functions of the ConnectX-7, by port and rail."""
    found: list[Facts] = []
    for name in sorted(os.listdir(sys_class_net) if os.path.isdir(sys_class_net) else []):
        folder = os.path.join(sys_class_net, name)
        device = os.path.join(folder, "device")
        is_ours = read(f"{device}/vendor") == VENDOR and read(f"{device}/device") == CONNECTX7
        if not is_ours or os.path.exists(f"{device}/physfn"):  # a virtual function
            continue
        infiniband = f"{device}/infiniband"
        devices = sorted(os.listdir(infiniband)) if os.path.isdir(infiniband) else []
        pci = os.path.basename(os.path.realpath(device))
        speed = whole(read(f"{folder}/speed"))
        found.append(
            {
                "name": name,
                "pci": pci,
                "port": port_number(name, read(f"{folder}/phys_port_name"), pci),
                "device": devices[0] if devices else None,
                "mac": read(f"{folder}/address").lower(),
                "is_up": bool(int(read(f"{folder}/flags") or "0", 16) & 1),
                "carrier": read(f"{folder}/carrier") == "1",
                "speed_mbps": speed if speed else None,
                "mtu": whole(read(f"{folder}/mtu")),
            }
        )
    found.sort(key=lambda port: (port["port"], port["pci"]))
    rails: dict[int, int] = {}
    for port in found:
        port["rail"] = rails.get(port["port"], 0)
        rails[port["port"]] = port["rail"] + 1
    return found


def port_number(name: str, phys_port_name: str, pci: str) -> int:
    """p1, enP2p1s0f1np1 and 0002:01:00.1 are port 1."""
    for pattern, value in ((r"p(\d+)", phys_port_name), (r".*np(\d+)", name), (r".*\.(\d)", pci)):
        match = re.fullmatch(pattern, value)
        if match:
            return int(match[1])
    return 0


def parse_addresses(ip_addr: str) -> dict[str, Facts]:
    """`ip -j addr`: addresses with their prefix, and the bond or bridge that an interface is part of."""
    found: dict[str, Facts] = {}
    for entry in map(mapping, sequence(parse_json(ip_addr))):
        name = plain(string(entry.get("ifname")))
        addresses = [
            f"{string(info.get('local'))}/{whole(info.get('prefixlen'))}"
            for info in map(mapping, sequence(entry.get("addr_info")))
            if string(info.get("local"))
        ]
        if name:
            found[name] = {"addresses": addresses, "master": plain(string(entry.get("master"))) or None}
    return found


def parse_routes(ip_route: str) -> list[dict[str, str]]:
    """`ip -j route`: destination and interface."""
    return [
        {"to": string(route.get("dst")), "interface": plain(string(route.get("dev")))}
        for route in map(mapping, sequence(parse_json(ip_route)))
        if string(route.get("dst")) and string(route.get("dev"))
    ]


def management(routes: t.Iterable[t.Mapping[str, str]], addresses: t.Mapping[str, Facts], reached: str) -> list[str]:
    """Interfaces that the host is reached by: those of default routes, and the one with the address REACHED of SSH.

    What is below a bond, a bridge or a VLAN of these belongs to them.
    """
    names = {route["interface"] for route in routes if route["to"] == "default"}
    if reached:
        names |= {
            name
            for name, entry in addresses.items()
            if any(text.partition("/")[0] == reached for text in entry["addresses"])
        }
    names |= {name for name, entry in addresses.items() if entry["master"] in names}
    return sorted(names)


def parse_lldp(lldpctl: str) -> list[dict[str, str]]:
    """`lldpctl -f json0`: own interface, and name, MAC address and interface of the neighbor as far as it says so."""
    found = []
    for lldp in map(mapping, sequence(mapping(parse_json(lldpctl)).get("lldp"))):
        for entry in map(mapping, sequence(lldp.get("interface"))):
            port, chassis = _first(entry.get("port")), _first(entry.get("chassis"))
            ids = map(mapping, sequence(port.get("id")))
            values = {string(each.get("type")): string(each.get("value")) for each in ids}
            found.append(
                {
                    "port": plain(string(entry.get("name"))),
                    "host": plain(_value(chassis.get("name"))),
                    "mac": values.get("mac", "").lower(),
                    "interface": plain(values.get("ifname", "") or _value(port.get("descr"))),
                }
            )
    return found


def _first(value: t.Any) -> Facts:
    return mapping((sequence(value) or [None])[0])


def _value(value: t.Any) -> str:
    return string(_first(value).get("value"))


def named_in(netplan: str, port: t.Mapping[str, t.Any]) -> bool:
    """Whether a file of netplan configures the interface: by its name, or by a match of name, MAC address or driver.

    The text is enough: PyYAML may be missing, and a word too many is only a question too many.
    """
    text = "\n".join(line.partition("#")[0] for line in netplan.splitlines())
    if re.search(rf"(?<![\w.-]){re.escape(port['name'])}(?![\w.-])", text):
        return True
    if "mlx5" in text or (port["mac"] and port["mac"] in text.lower()):
        return True
    # a pattern, as in match: {name: "en*"}
    patterns = re.findall(r"(?<![\w-])name\s*:\s*[\"']?([^\"',}\s]+)", text)
    return any(fnmatch.fnmatchcase(port["name"], pattern) for pattern in patterns)


def other_files(folders: t.Iterable[str] = FOLDERS) -> dict[str, str]:
    """Files of netplan without ours, and without those that another one hides."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for folder in folders:
        for name in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
            path = os.path.join(folder, name)
            if name.endswith(".yaml") and name not in seen and not is_ours(path):
                found[path] = read(path)
            seen.add(name)
    return found


def is_ours(path: str) -> bool:
    return os.path.basename(path) == os.path.basename(FILE) and read(path).startswith(MARKER)


def own_addresses(content: str) -> dict[str, list[str]]:
    """Addresses by interface in a file that this collection has written."""
    return {name: value.split(", ") for name, value in _own(content, r"addresses: \[(.+)\]")}


def own_mtus(content: str) -> dict[str, int]:
    """MTU by interface in a file that this collection has written."""
    return {name: int(value) for name, value in _own(content, r"mtu: (\d+)")}


def _own(content: str, line: str) -> list[tuple[str, str]]:
    """Each interface that has such a line, with the value in it."""
    return re.findall(rf"^ {{4}}([\w.-]+):\n(?: {{6}}.*\n)*? {{6}}{line}$", content, re.MULTILINE)


def leftovers(before: str, after: str, mtus: t.Mapping[str, int]) -> list[list[str]]:
    """Arguments of `ip` that remove what BEFORE had and AFTER has not: netplan leaves it on the interface.

    MTUS are those to go back to, by interface.
    """
    kept = own_addresses(after)
    commands = [
        ["address", "del", address, "dev", name]
        for name, addresses in own_addresses(before).items()
        for address in addresses
        if address not in kept.get(name, [])
    ]
    changed = {name for name, mtu in own_mtus(before).items() if own_mtus(after).get(name) != mtu}
    return commands + [["link", "set", name, "mtu", str(mtus.get(name, 1500))] for name in sorted(changed)]


def missing(content: str, addresses: t.Mapping[str, Facts]) -> list[str]:
    """Addresses of a file of ours that are not on their interface."""
    nothing: Facts = {"addresses": []}
    return [
        f"{address} on {name}"
        for name, wanted in own_addresses(content).items()
        for address in wanted
        if address not in addresses.get(name, nothing)["addresses"]
    ]
