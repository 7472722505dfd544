# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparks as fabric_info reads them, and cables between them."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.fabric import named_in

from support.fabric_situations import HOSTS, NAMES, Situation, written

Facts = dict[str, t.Any]


def spark(number: int, cabled: t.Collection[int] = (0,), **more: t.Any) -> Facts:
    """Spark NUMBER with carrier on these ports. MORE replaces what fabric_info returns."""
    return {
        "hostname": f"spark{number:02}",
        "ports": [_port(number, port, rail, port in cabled) for port, rail in NAMES],
        "management": ["enP7s7"],
        "addresses": {"lo": ["127.0.0.1/8"], "enP7s7": [f"192.168.1.{40 + number}/24"], "docker0": ["172.17.0.1/16"]},
        "routes": [
            {"to": "default", "interface": "enP7s7"},
            {"to": "192.168.1.0/24", "interface": "enP7s7"},
            {"to": "172.17.0.0/16", "interface": "docker0"},
        ],
        "neighbors": [],
        "file": None,
        "commands": {
            "netplan": "/usr/sbin/netplan",
            "systemd-run": "/usr/bin/systemd-run",
            "ib_write_bw": None,
            "ib_write_lat": None,
        },
        **more,
    }


def _port(number: int, port: int, rail: int, carrier: bool) -> Facts:
    name = NAMES[port, rail]
    return {
        "name": name,
        "pci": f"000{2 * rail}:01:00.{port}",
        "port": port,
        "rail": rail,
        "device": name.replace("en", "roce", 1).partition("np")[0],
        "mac": f"4c:bb:47:00:{number:02x}:{port}{rail}",
        "is_up": True,
        "carrier": carrier,
        "speed_mbps": 200000 if carrier else None,
        "mtu": 1500,
        "master": None,
        "addresses": [local(number, port, rail) + "/64"] if carrier else [],
        "files": [],
    }


def local(number: int, port: int, rail: int = 0) -> str:
    return f"fe80::4ebb:47ff:fe00:{number:02x}{port}{rail}"


def change(host: Facts, name: str, **more: t.Any) -> Facts:
    """The interface NAME is different."""
    ports = [{**port, **more} if port["name"] == name else port for port in host["ports"]]
    return {**host, "ports": ports}


def cable(hosts: dict[str, Facts], *ends: tuple[int, int]) -> None:
    """All these ends (Spark, port) see one another by echo requests: two on a cable, more on a switch."""
    for number, port in ends:
        for other, far in ends:
            if (other, far) != (number, port):
                hosts[f"spark{number:02}"]["neighbors"] += [
                    {"port": NAMES[port, 0], "host": "", "mac": "", "interface": "", "address": local(other, far, rail)}
                    for rail in (0, 1)
                ]


def asked(hosts: t.Mapping[str, Facts], topology: str = "pair", **more: t.Any) -> dict[str, Facts]:
    """What the planner is given."""
    settings = {"topology": topology, "network": "192.168.100.0/22", "mtu": 0, **more}
    return {name: {**settings, "info": info} for name, info in hosts.items()}


def as_read(situation: Situation) -> dict[str, Facts]:
    """The hosts of the group as fabric_info would read them."""
    everyone = {f"spark{number:02}": _host(situation, number) for number in range(1, HOSTS + 1)}
    for group in () if situation.silent else situation.cables:
        cable(everyone, *group)
    return dict(list(everyone.items())[: situation.hosts])


def _host(situation: Situation, number: int) -> Facts:
    host = spark(number, {port for group in situation.cables for end, port in group if end == number})
    earlier = situation.earlier.get(number, {})
    names, text = situation.addresses.get(number, ("", ""))
    files = situation.files.get(number, {})
    rails: collections.Counter[int] = collections.Counter()
    seen: list[Facts] = []
    others: Facts = {}
    for port in host["ports"]:
        name = port["name"]
        port["addresses"] = [
            *([] if situation.silent else port["addresses"]),
            *([earlier[name]] if name in earlier else []),
            *([text] if name == names else []),
        ]
        if name in situation.down.get(number, ()):
            port.update(is_up=False, carrier=False, addresses=[])
        if name == situation.bridged.get(number):
            port["master"] = "br0"
        port["files"] = [
            f"/etc/netplan/{file}" for file in files if file.endswith(".yaml") and named_in(files[file], port)
        ]
        if name in situation.unseen.get(number, ()):
            others[name] = port["addresses"]
            continue
        port["rail"] = rails[port["port"]]
        rails[port["port"]] += 1
        seen.append(port)
    if number in situation.routes:
        to, interface = situation.routes[number]
        host["routes"].append({"to": to, "interface": interface})
    if number in situation.lldp:
        port, name, interface = situation.lldp[number]
        host["neighbors"].append({"port": port, "host": name, "mac": "", "interface": interface, "address": ""})
    return {
        **host,
        "ports": seen,
        "addresses": {**host["addresses"], **others},
        "management": [*host["management"], *situation.management.get(number, ())],
        "file": written(earlier) if earlier else None,
    }
