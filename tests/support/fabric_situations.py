# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sparks can be cabled and configured, and what comes of it: planned from facts, and built of namespaces."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.fabric import MARKER
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.fabric import Plan

P0, Q0, P1, Q1 = "enp1s0f0np0", "enP2p1s0f0np0", "enp1s0f1np1", "enP2p1s0f1np1"
NAMES = {(0, 0): P0, (0, 1): Q0, (1, 0): P1, (1, 1): Q1}  # by port and rail
HOSTS = 4  # there are no more
ByHost = t.Mapping[int, t.Any]
Ports = dict[str, str]


class Situation(t.NamedTuple):
    """Hosts by their number: 1 is spark01. The others, up to HOSTS, are there too, and not of the group."""

    # Ends (host, port): two are a cable, more a switch. One is a cable to something that does not answer.
    cables: tuple[tuple[tuple[int, int], ...], ...]
    planned: dict[int, Ports] = {}  # addresses by host and interface
    refused: tuple[str, ...] = ()  # with what each line begins
    notices: tuple[str, ...] = ()
    topology: str = "pair"
    hosts: int = 2
    network: str = "192.168.100.0/22"
    mtu: int = 0
    silent: bool = False  # no IPv6, so nobody answers
    earlier: ByHost = {}  # addresses of an earlier run by host and interface, still in its file and on the interface
    lldp: ByHost = {}  # interface, name of the neighbor, its interface
    files: ByHost = {}  # content by name, in /etc/netplan
    addresses: ByHost = {}  # (interface, address) of others
    routes: ByHost = {}  # (destination, interface)
    management: ByHost = {}  # interfaces by which the host is reached, too
    down: ByHost = {}  # interfaces
    unseen: ByHost = {}  # interfaces that are not of the adapter
    bridged: ByHost = {}  # interfaces that are part of a bridge


def rails(port: int, number: int, subnet: int = 100) -> Ports:
    return {NAMES[port, rail]: f"192.168.{subnet + rail}.{number}/24" for rail in (0, 1)}


def ring_of(*links: tuple[tuple[int, int], tuple[int, int]]) -> dict[int, Ports]:
    """A ring has the network's 192.168.100.0 to 192.168.102.255 in parts of 128 addresses, two for each link."""
    found: dict[int, Ports] = {}
    for index, ends in enumerate(links):
        for side, (host, port) in enumerate(ends, 1):
            found.setdefault(host, {}).update(
                {NAMES[port, rail]: f"192.168.{100 + index}.{128 * rail + side}/25" for rail in (0, 1)}
            )
    return found


def moved(path: str, host: str, names: str) -> str:
    return f"{path} of {host} configures {names}; move it away (sudo mv {path} /root/), run `sudo netplan apply` there"


def configures(*names: str) -> str:
    return "network:\n  version: 2\n  ethernets:\n" + "".join(f"    {name}: {{dhcp4: true}}\n" for name in names)


def written(addresses: Ports) -> str:
    """What an earlier run wrote."""
    head = f"{MARKER}\nnetwork:\n  version: 2\n  ethernets:\n"
    return head + "".join(f"    {name}:\n      addresses: [{text}]\n" for name, text in addresses.items())


PAIR = (((1, 0), (2, 0)),)
BOTH = {1: rails(0, 1), 2: rails(0, 2)}
RING = (((1, 0), (2, 1)), ((2, 0), (3, 1)), ((3, 0), (1, 1)))
# Links are numbered by their hosts: 1 and 2, 1 and 3, 2 and 3. The first of two hosts has address 1.
PLANNED_RING = ring_of(((1, 0), (2, 1)), ((1, 1), (3, 0)), ((2, 0), (3, 1)))
SWITCH = (((1, 0), (2, 0), (3, 0), (4, 0)),)
OUTSIDE = "is cabled to a host that is not in the group (fe80:"
NM, INIT = "01-network-manager-all.yaml", "50-cloud-init.yaml"

SITUATIONS: dict[str, Situation] = {
    # ---- a pair
    "a pair": Situation(PAIR, BOTH),
    "a pair with other ports at each end": Situation((((1, 0), (2, 1)),), {1: rails(0, 1), 2: rails(1, 2)}),
    "a pair with large packets": Situation(PAIR, BOTH, mtu=9000),
    "a pair with two cables": Situation(
        (((1, 0), (2, 1)), ((1, 1), (2, 0))),
        {1: rails(0, 1), 2: rails(1, 2)},
        notices=("the cable from port 1 of spark01 to port 0 of spark02 is not used: one has the full speed",),
    ),
    "a pair that cannot be seen": Situation(
        (((1, 1), (2, 0)),), {1: rails(1, 1), 2: rails(0, 2)}, silent=True
    ),
    "a pair with two cables that cannot be seen": Situation(
        (((1, 0), (2, 0)), ((1, 1), (2, 1))),
        BOTH,
        notices=("cables could not be seen; assumed: port 0 of spark01 to port 0 of spark02",),
        silent=True,
    ),
    "a pair that only LLDP sees, from one side": Situation(
        (((1, 0), (2, 1)), ((1, 1), (2, 0))),
        {1: rails(0, 1), 2: rails(1, 2)},
        silent=True,
        lldp={2: (P1, "spark01.lan", P0)},
    ),
    "a pair of which one host has one rail": Situation(
        PAIR,
        {1: rails(0, 1), 2: {P0: "192.168.100.2/24"}},
        notices=("spark02 has only one rail of port 0 (enp1s0f0np0): half of the speed",),
        unseen={2: (Q0,)},
    ),
    "a pair with one rail": Situation(
        PAIR,
        {1: {Q0: "192.168.100.1/24"}, 2: {Q0: "192.168.100.2/24"}},
        notices=tuple(
            f"spark0{each} has only one rail of port 0 (enP2p1s0f0np0): half of the speed" for each in (1, 2)
        ),
        unseen={1: (P0,), 2: (P0,)},
    ),
    "a pair whose hosts are reached by a port of the adapter": Situation(
        (((1, 0), (2, 0)), ((1, 1), (2, 1))),
        {1: rails(1, 1), 2: rails(1, 2)},
        management={1: (P0,), 2: (P0,)},
    ),
    "a pair beside a host of another group": Situation(
        (((1, 0), (3, 0)), ((1, 1), (2, 0))), {1: rails(1, 1), 2: rails(0, 2)}
    ),
    "a pair beside a storage switch": Situation(
        (((1, 0), (2, 0)), ((1, 1),)), BOTH, lldp={1: (P1, "sw01", "qsfp1")}
    ),
    "a pair that cannot be seen beside a storage switch": Situation(
        (((1, 0),), ((1, 1), (2, 0))),
        {1: rails(1, 1), 2: rails(0, 2)},
        silent=True,
        lldp={1: (P0, "sw01", "qsfp1")},
    ),
    "a pair with files of others for other interfaces": Situation(
        PAIR,
        BOTH,
        files={
            1: {NM: "network:\n  renderer: NetworkManager\n", "40-cx7.yaml.bak": configures(P0)},
            2: {INIT: configures("enP7s7"), "98-spark-vllm-docker.yaml": configures(P1, Q1)},
        },
    ),
    "a pair in a network of its own": Situation(
        PAIR,
        {each: {P0: f"10.201.0.{each}/24", Q0: f"10.201.1.{each}/24"} for each in (1, 2)},
        network="10.201.0.0/22",
    ),
    "a pair that had another network": Situation(
        PAIR, BOTH, earlier={each: {P0: f"192.168.104.{each}/24", Q0: f"192.168.105.{each}/24"} for each in (1, 2)}
    ),
    "a pair whose cable is in another port now": Situation(
        (((1, 1), (2, 1)),), {1: rails(1, 1), 2: rails(1, 2)}, earlier=BOTH
    ),
    # ---- a ring
    "a ring": Situation(RING, PLANNED_RING, topology="ring", hosts=3),
    "a ring the other way round": Situation(
        (((1, 1), (2, 1)), ((2, 0), (3, 0)), ((1, 0), (3, 1))),
        ring_of(((1, 1), (2, 1)), ((1, 0), (3, 1)), ((2, 0), (3, 0))),
        topology="ring",
        hosts=3,
    ),
    "a ring that cannot be seen": Situation(
        RING,
        PLANNED_RING,
        notices=(
            "not all cables could be seen; assumed: port 0 of spark01 to port 1 of spark02, port 1 of spark01 to port 0"
            " of spark03, port 0 of spark02 to port 1 of spark03",
        ),
        topology="ring",
        hosts=3,
        silent=True,
    ),
    # ---- a switch
    "four on a switch": Situation(
        SWITCH, {each: rails(0, each) for each in (1, 2, 3, 4)}, topology="switch", hosts=4
    ),
    "three on a switch, one by its other port": Situation(
        (((1, 0), (2, 1), (3, 0)),),
        {1: rails(0, 1), 2: rails(1, 2), 3: rails(0, 3)},
        topology="switch",
        hosts=3,
    ),
    "a new host on a switch": Situation(
        SWITCH,
        {1: rails(0, 2), 2: rails(0, 1), 3: rails(0, 3), 4: rails(0, 4)},
        topology="switch",
        hosts=4,
        earlier={1: rails(0, 2), 3: rails(0, 3)},
    ),
    # ---- wrong cabling
    "each of a pair is cabled to a host outside": Situation(
        (((1, 0), (3, 0)), ((2, 1), (4, 0))),
        refused=(f"port 0 of spark01 {OUTSIDE}", f"port 1 of spark02 {OUTSIDE}"),
    ),
    "one of a pair is cabled to a host outside": Situation(
        (((1, 0),), ((2, 1), (4, 0))), refused=(f"port 1 of spark02 {OUTSIDE}",)
    ),
    "the cable of a pair was put into a host outside": Situation(
        (((1, 0), (3, 0)), ((2, 0),)), refused=(f"port 0 of spark01 {OUTSIDE}",), earlier=BOTH
    ),
    "a pair without a cable at one end": Situation(
        (((1, 0),),), refused=("spark02: no carrier; 1 cabled port needed, cabled: none",)
    ),
    "each of a pair is cabled to itself": Situation(
        (((1, 0), (1, 1)), ((2, 0), (2, 1))),
        refused=(
            "port 0 of spark01 and port 1 see each other; connect other hosts, or for a switch set fabric_topology:"
            " switch",
            "port 0 of spark02 and port 1 see each other",
        ),
    ),
    "a pair on a switch": Situation(
        PAIR,
        refused=(
            "port 0 of spark01 is cabled to sw01 (LLDP), and pair means cables between the hosts; for a switch set"
            " fabric_topology: switch",
        ),
        lldp={1: (P0, "sw01", "qsfp1")},
    ),
    "both ports of a pair on a switch": Situation(
        (((1, 0), (1, 1), (2, 0), (2, 1)),),
        refused=("port 0 of spark01 and port 1 see each other", "port 0 of spark02 and port 1 see each other"),
    ),
    "a ring without one cable": Situation(
        RING[:2],
        refused=(
            "spark01: no carrier; 2 cabled ports needed, cabled: 0",
            "spark03: no carrier; 2 cabled ports needed, cabled: 1",
        ),
        topology="ring",
        hosts=3,
    ),
    "a ring with two cables between two hosts": Situation(
        (((1, 0), (2, 1)), ((1, 1), (2, 0)), ((3, 0),), ((3, 1),)),
        refused=(
            "a ring needs one cable between each two hosts; seen: port 0 of spark01 to port 1 of spark02, port 1 of"
            " spark01 to port 0 of spark02; none between spark01 and spark03, spark02 and spark03",
        ),
        topology="ring",
        hosts=3,
    ),
    "a ring with a cable to a host outside": Situation(
        (((1, 0), (2, 1)), ((2, 0), (3, 1)), ((3, 0), (4, 1)), ((1, 1), (4, 0))),
        refused=(f"port 1 of spark01 {OUTSIDE}", f"port 0 of spark03 {OUTSIDE}"),
        topology="ring",
        hosts=3,
    ),
    "one is on no switch of the others": Situation(
        (((1, 0), (2, 0), (3, 0)), ((4, 0),)),
        refused=("spark04 is not on the switch of spark01, spark02, spark03: they see one another",),
        topology="switch",
        hosts=4,
    ),
    # ---- what is on a host
    "interfaces that are down": Situation(
        PAIR,
        refused=(
            "spark02: no carrier; interfaces are down, so run there: sudo ip link set enp1s0f0np0 up; sudo ip link set"
            " enP2p1s0f0np0 up",
        ),
        down={2: (P0, Q0)},
    ),
    "a twin that is down": Situation(
        PAIR,
        refused=("spark02: no carrier on enP2p1s0f0np0, and its twin has one; run: sudo ip link set enP2p1s0f0np0 up",),
        down={2: (Q0,)},
    ),
    "no adapter": Situation(
        PAIR,
        refused=("spark02 has no ConnectX-7 (no interface with the PCI id 15b3:1021)",),
        unseen={2: (P0, Q0, P1, Q1)},
    ),
    "the only cable is what a host is reached by": Situation(
        PAIR,
        refused=(
            "spark01: no carrier; 1 cabled port needed, cabled: none (enP2p1s0f0np0 is what the host is reached by, and"
            " is not touched)",
        ),
        management={1: (Q0,)},
    ),
    **{
        f"a file {name}": Situation(
            PAIR, refused=(moved(f"/etc/netplan/{name}", "spark01", f"{P0}, {Q0}"),), files={1: {name: text}}
        )
        for name, text in (
            ("40-cx7.yaml", configures(P0, Q0)),
            ("99-nvidia-sync-cluster.yaml", configures(P0, Q0)),
            ("98-spark-vllm-docker.yaml", configures(P0, Q0)),
            (INIT, 'network:\n  ethernets:\n    all:\n      match: {name: "en*"}\n      dhcp4: true\n'),
        )
    },
    "an address of others": Situation(
        PAIR,
        refused=(
            "enp1s0f0np0 of spark01 has 192.168.100.10/24, which is not of this role; remove it: sudo ip address del"
            " 192.168.100.10/24 dev enp1s0f0np0",
        ),
        addresses={1: (P0, "192.168.100.10/24")},
    ),
    "a bridge": Situation(
        PAIR, refused=("enp1s0f0np0 of spark01 is part of br0; remove it from there",), bridged={1: P0}
    ),
    "the network of the office": Situation(
        PAIR,
        refused=tuple(
            f"fabric_network: 192.168.1.0/24 overlaps {text} of enP7s7 on spark0{each}; choose a network"
            for each in (1, 2)
            for text in (f"192.168.1.4{each}/24", "192.168.1.0/24")
        ),
        network="192.168.0.0/22",
    ),
    "a route of others": Situation(
        PAIR,
        refused=tuple(
            f"fabric_network: 192.168.{each}.0/24 overlaps 192.168.96.0/19 of enP7s7 on spark02" for each in (100, 101)
        ),
        routes={2: ("192.168.96.0/19", "enP7s7")},
    ),
    "three are no pair": Situation(
        SWITCH,
        refused=("fabric_topology: pair needs 2 hosts, and the group has 3 (spark01, spark02, spark03)",),
        hosts=3,
    ),
}  # fmt: skip


def check_plan(found: Plan, situation: Situation) -> None:
    """That it is what the situation says."""
    assert len(found.problems) == len(situation.refused), found.problems
    for line, begin in zip(found.problems, situation.refused, strict=True):
        assert line.startswith(begin), found.problems
    wanted = {f"spark{number:02}": addresses for number, addresses in situation.planned.items()}
    assert (found.addresses, found.notices) == (wanted, list(situation.notices))
    assert set(found.files) == set(wanted)
