#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the ConnectX-7 of a Spark and its cabling."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fabric_info
short_description: Read the ConnectX-7 ports of a Spark, their configuration and their cabling
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Reads the network interfaces of the ConnectX-7, their addresses, the files of netplan that configure them, and the
    interfaces by which the host is reached.
  - A QSFP port has two interfaces, one for each of its PCIe functions, such as C(enp1s0f0np0) and C(enP2p1s0f0np0).
    These are the rails 0 and 1 of the port.
  - Finds neighbors with C(lldpctl), if it is installed, and with two ICMPv6 echo requests to all nodes of each link.
  - What cannot be read is V(null) or empty. The module does not fail.
extends_documentation_fragment:
  - dgxspark.vllm.attributes
notes:
  - Without root no echo request is sent, and files of netplan that only root can read are missing.
seealso:
  - plugin: dgxspark.vllm.fabric_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the ConnectX-7
  dgxspark.vllm.fabric_info:
  register: host
  become: true

- name: Show the interfaces with a cable
  ansible.builtin.debug:
    msg: "{{ host.fabric.ports | selectattr('carrier') | map(attribute='name') }}"
"""

RETURN = r"""
fabric:
  description: The ConnectX-7 and what else its configuration depends on.
  returned: always
  type: dict
  contains:
    hostname: {description: Name of the host., type: str, returned: always, sample: spark01}
    ports:
      description:
        - Interfaces of the ConnectX-7 by C(port) and C(rail). C(device) is the RDMA device.
        - C(is_up) is the administrative state. Without it there is no C(carrier).
        - C(master) is the bond or bridge of which the interface is a part, C(files) those of netplan that configure it.
      type: list
      elements: dict
      returned: always
      sample:
        - {name: enp1s0f0np0, pci: "0000:01:00.0", port: 0, rail: 0, device: rocep1s0f0, mac: "4c:bb:47:00:00:01",
           is_up: true, carrier: true, speed_mbps: 200000, mtu: 1500, master: null,
           addresses: ["192.168.100.1/24", "fe80::4ebb:47ff:fe00:1/64"], files: []}
    management:
      description: Interfaces with a default route, and the one of the SSH connection.
      type: list
      elements: str
      returned: always
      sample: [enP7s7]
    addresses:
      description: Addresses of all other interfaces, by interface.
      type: dict
      returned: always
      sample: {enP7s7: ["192.168.1.41/24"]}
    routes:
      description: IPv4 routes.
      type: list
      elements: dict
      returned: always
      sample: [{to: default, interface: enP7s7}, {to: 192.168.1.0/24, interface: enP7s7}]
    neighbors:
      description:
        - Others at the end of a cable. C(port) is the own interface.
        - From LLDP C(host), C(mac) and C(interface), from an echo reply C(address). The others are empty.
      type: list
      elements: dict
      returned: always
      sample:
        - {port: enp1s0f0np0, host: "", mac: "", interface: "", address: "fe80::4ebb:47ff:fe00:11"}
    file:
      description: Content of C(/etc/netplan/60-dgxspark-fabric.yaml). V(null) if this collection has not written it.
      type: str
      returned: always
      sample: null
    commands:
      description: Paths of C(netplan), C(systemd-run), C(ib_write_bw) and C(ib_write_lat). V(null) if not installed.
      type: dict
      returned: always
      sample: {netplan: /usr/sbin/netplan, systemd-run: /usr/bin/systemd-run, ib_write_bw: /usr/bin/ib_write_bw,
               ib_write_lat: /usr/bin/ib_write_lat}
"""

import os
import socket

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import fabric, neighbors

COMMANDS = ("netplan", "systemd-run", "ib_write_bw", "ib_write_lat")


def output(module: AnsibleModule, *argv: str) -> str:
    """Empty if the program is missing or fails."""
    command = module.get_bin_path(argv[0], opt_dirs=["/usr/sbin", "/sbin"])
    if command is None:
        return ""
    code, out, _err = module.run_command([command, *argv[1:]], environ_update={"LC_ALL": "C", "LANGUAGE": "C"})
    return out if code == 0 else ""


def reached_address() -> str:
    """The own address of the SSH connection. sudo removes the variable, but not from its own environment."""
    process = os.getpid()
    while process > 1:
        for entry in fabric.read(f"/proc/{process}/environ").split("\0"):
            if entry.startswith("SSH_CONNECTION="):
                words = entry.partition("=")[2].split()
                return words[2].partition("%")[0] if len(words) == 4 else ""
        status = fabric.read(f"/proc/{process}/status")
        parent = [line.split()[1] for line in status.splitlines() if line.startswith("PPid:")]
        process = int(parent[0]) if parent else 0
    return ""


def found_neighbors(module: AnsibleModule, ports: list[fabric.Facts]) -> list[dict[str, str]]:
    names = {port["name"]: socket.if_nametoindex(port["name"]) for port in ports if port["carrier"]}
    own = {  # both rails of a port are on its cable
        (port["name"], address.partition("/")[0])
        for port in ports
        for twin in ports
        if twin["port"] == port["port"]
        for address in twin["addresses"]
    }
    empty = {"host": "", "mac": "", "interface": "", "address": ""}
    lldp = fabric.parse_lldp(output(module, "lldpctl", "-f", "json0"))
    replies = [reply for reply in neighbors.answers(names) if reply not in own] if names else []
    return [
        *({**empty, **entry} for entry in lldp if entry["port"] in {port["name"] for port in ports}),
        *({**empty, "port": name, "address": address} for name, address in replies),
    ]


def read_fabric(module: AnsibleModule) -> fabric.Facts:
    addresses = fabric.parse_addresses(output(module, "ip", "-j", "addr"))
    routes = fabric.parse_routes(output(module, "ip", "-j", "-4", "route"))
    default6 = fabric.parse_routes(output(module, "ip", "-j", "-6", "route", "show", "default"))
    files = fabric.other_files()
    nothing: fabric.Facts = {"addresses": [], "master": None}
    ports = [
        {
            **port,
            **addresses.get(port["name"], nothing),
            "files": [path for path, content in files.items() if fabric.named_in(content, port)],
        }
        for port in fabric.read_ports()
    ]
    names = {port["name"] for port in ports}
    return {
        "hostname": socket.gethostname(),
        "ports": ports,
        "management": fabric.management([*routes, *default6], addresses, reached_address()),
        "addresses": {name: entry["addresses"] for name, entry in addresses.items() if name not in names},
        "routes": routes,
        "neighbors": found_neighbors(module, ports),
        "file": fabric.read(fabric.FILE) + "\n" if fabric.is_ours(fabric.FILE) else None,
        "commands": {name: module.get_bin_path(name, opt_dirs=["/usr/sbin"]) for name in COMMANDS},
    }


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, fabric=read_fabric(module))


if __name__ == "__main__":
    main()
