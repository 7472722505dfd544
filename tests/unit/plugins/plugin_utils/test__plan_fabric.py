# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses for the cables of twenty and more inventories, and which of them are refused."""

from __future__ import annotations

import ipaddress
import itertools
import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.filter import fabric_plan
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.fabric import MARKER, own_addresses
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.fabric import Plan, plan, subnets
from fabrics import Facts, as_read, asked, cable, change, spark

from support.fabric_situations import SITUATIONS, check_plan

Hosts = dict[str, Facts]
PAIR = ("enp1s0f0np0", "enP2p1s0f0np0")


def sparks(count: int, cabled: t.Collection[int] = (0,)) -> Hosts:
    return {f"spark{number:02}": spark(number, cabled) for number in range(1, count + 1)}


def pair() -> Hosts:
    hosts = sparks(2)
    cable(hosts, (1, 0), (2, 0))
    return hosts


def ring(*links: tuple[tuple[int, int], tuple[int, int]]) -> Hosts:
    hosts = sparks(3, (0, 1))
    for ends in links or [((1, 0), (2, 1)), ((2, 0), (3, 1)), ((3, 0), (1, 1))]:
        cable(hosts, *ends)
    return hosts


def switch(count: int = 4) -> Hosts:
    hosts = sparks(count)
    cable(hosts, *((number, 0) for number in range(1, count + 1)))
    return hosts


def addresses(found: Plan) -> dict[str, dict[str, str]]:
    assert found.problems == []
    return found.addresses


def test_the_filter_returns_what_it_documents() -> None:
    documented = yaml.safe_load(fabric_plan.RETURN)["_value"]["contains"]
    found = fabric_plan.fabric_plan(asked(pair()))
    assert list(found) == list(documented)
    (sample,) = documented["checks"]["sample"]
    assert {name: type(value) for name, value in found["checks"][0].items()} == {
        name: type(value) for name, value in sample.items()
    }
    assert set(found["checks"][0]["client"]) == set(sample["client"])
    with pytest.raises(AnsibleFilterError):
        fabric_plan.fabric_plan([])


# ---- what is planned ---------------------------------------------------------------------------------------------


def test_a_pair_has_a_subnet_for_each_rail() -> None:
    found = plan(asked(pair()))
    assert addresses(found) == {
        "spark01": {"enp1s0f0np0": "192.168.100.1/24", "enP2p1s0f0np0": "192.168.101.1/24"},
        "spark02": {"enp1s0f0np0": "192.168.100.2/24", "enP2p1s0f0np0": "192.168.101.2/24"},
    }
    assert found.notices == []
    assert [(check["rail"], check["client"]["host"], check["server"]["address"]) for check in found.checks] == [
        (0, "spark01", "192.168.100.2"),
        (1, "spark01", "192.168.101.2"),
    ]


def test_a_pair_with_other_ports_at_each_end() -> None:
    hosts = {"spark01": spark(1, (0,)), "spark02": spark(2, (1,))}
    cable(hosts, (1, 0), (2, 1))
    assert set(addresses(plan(asked(hosts)))["spark02"]) == {"enp1s0f1np1", "enP2p1s0f1np1"}


def test_a_pair_that_cannot_be_seen_is_cabled_where_the_carrier_is() -> None:
    hosts = {"spark01": spark(1, (1,)), "spark02": spark(2, (0,))}
    found = plan(asked(hosts))
    assert (set(addresses(found)["spark01"]), found.notices) == ({"enp1s0f1np1", "enP2p1s0f1np1"}, [])


def test_of_two_cables_of_a_pair_one_is_used() -> None:
    hosts = sparks(2, (0, 1))
    cable(hosts, (1, 0), (2, 1))
    cable(hosts, (1, 1), (2, 0))
    found = plan(asked(hosts))
    assert (set(addresses(found)["spark01"]), set(found.addresses["spark02"])) == (
        set(PAIR),
        {"enp1s0f1np1", "enP2p1s0f1np1"},
    )
    assert found.notices == [
        "the cable from port 1 of spark01 to port 0 of spark02 is not used: one has the full speed"
    ]


def test_two_cables_that_cannot_be_seen_are_assumed_to_be_straight() -> None:
    (notice,) = plan(asked(sparks(2, (0, 1)))).notices
    assert notice == "cables could not be seen; assumed: port 0 of spark01 to port 0 of spark02"


def test_a_pair_is_seen_by_lldp_from_one_side() -> None:
    hosts = {"spark01": spark(1, (0, 1)), "spark02": spark(2, (0, 1))}
    hosts["spark02"]["neighbors"] = [
        {"port": "enp1s0f1np1", "host": "spark01.lan", "mac": "", "interface": "enp1s0f0np0", "address": ""}
    ]
    found = addresses(plan(asked(hosts)))
    assert (set(found["spark01"]), set(found["spark02"])) == (set(PAIR), {"enp1s0f1np1", "enP2p1s0f1np1"})


def test_the_order_of_the_inventory_does_not_matter() -> None:
    hosts = pair()
    assert plan(asked(hosts)).addresses == plan(asked(dict(reversed(hosts.items())))).addresses


def test_a_ring_has_six_subnets_and_four_addresses_on_each_host() -> None:
    found = plan(asked(ring(), "ring"))
    used = [ipaddress.IPv4Interface(text) for host in addresses(found).values() for text in host.values()]
    assert len(used) == len(set(used)) == 12
    assert len({address.network for address in used}) == 6
    assert all(not one.overlaps(two) for one, two in itertools.combinations({each.network for each in used}, 2))
    assert [len(host) for host in found.addresses.values()] == [4, 4, 4]
    assert len(found.checks) == 6


def test_a_ring_is_taken_as_it_is_cabled() -> None:
    found = plan(asked(ring(((1, 1), (2, 1)), ((2, 0), (3, 0)), ((1, 0), (3, 1))), "ring"))
    one, other = found.addresses["spark01"]["enp1s0f1np1"], found.addresses["spark02"]["enp1s0f1np1"]
    assert ipaddress.IPv4Interface(one).network == ipaddress.IPv4Interface(other).network
    assert found.notices == []


def test_a_ring_that_cannot_be_seen_goes_from_port_0_to_port_1_of_the_next() -> None:
    hosts = sparks(3, (0, 1))
    for name in hosts:
        for port in hosts[name]["ports"]:
            port["addresses"] = []  # no IPv6
    found = plan(asked(hosts, "ring"))
    assert len(addresses(found)["spark03"]) == 4
    assert "assumed: port 0 of spark01 to port 1 of spark02" in found.notices[0]
    check = found.checks[0]
    assert (check["client"]["interface"], check["server"]["interface"]) == ("enp1s0f0np0", "enp1s0f1np1")


def test_cables_that_were_seen_once_need_not_be_seen_again() -> None:
    """NetworkManager may take the link-local addresses from the interfaces that it has configured."""
    hosts = ring(((1, 1), (2, 1)), ((2, 0), (3, 0)), ((1, 0), (3, 1)))
    two = {"spark01": spark(1, (0, 1)), "spark02": spark(2, (0, 1))}
    cable(two, (1, 1), (2, 0))
    for topology, seen in (("ring", hosts), ("pair", two)):
        first = plan(asked(seen, topology))
        later = {name: {**host, "neighbors": [], "file": first.files[name]} for name, host in seen.items()}
        again = plan(asked(later, topology))
        assert (addresses(again), again.notices) == (first.addresses, [])


def test_a_switch_has_two_shared_subnets() -> None:
    found = plan(asked(switch(), "switch"))
    assert {name: host["enp1s0f0np0"] for name, host in addresses(found).items()} == {
        f"spark0{number}": f"192.168.100.{number}/24" for number in range(1, 5)
    }
    assert len({ipaddress.IPv4Interface(text).network for h in found.addresses.values() for text in h.values()}) == 2
    servers = [check["server"]["host"] for check in found.checks if check["rail"] == 0]
    assert servers == ["spark02", "spark03", "spark04", "spark01"]  # each sends and receives


def test_a_new_host_on_a_switch_changes_no_other() -> None:
    before = plan(asked(switch(3), "switch"))
    hosts = switch(4)
    for name, content in before.files.items():
        hosts[name]["file"] = content
    late = {"spark00": {**hosts["spark02"], "file": None}, **{name: hosts[name] for name in ("spark01", "spark03")}}
    found = plan(asked(late, "switch"))
    assert {name: host["enp1s0f0np0"] for name, host in addresses(found).items()} == {
        "spark00": "192.168.100.2/24",  # that of spark02, which is gone
        "spark01": "192.168.100.1/24",
        "spark03": "192.168.100.3/24",
    }


def test_one_rail_is_half_of_the_speed() -> None:
    hosts = pair()
    hosts["spark02"]["ports"] = [port for port in hosts["spark02"]["ports"] if port["rail"] == 0]
    found = plan(asked(hosts))
    assert set(addresses(found)["spark02"]) == {"enp1s0f0np0"}
    assert found.notices == ["spark02 has only one rail of port 0 (enp1s0f0np0): half of the speed"]
    assert [check["rail"] for check in found.checks] == [0]


def test_the_port_of_the_management_interface_is_left_out() -> None:
    hosts = {name: {**host, "management": ["enp1s0f0np0"]} for name, host in sparks(2, (0, 1)).items()}
    cable(hosts, (1, 1), (2, 1))
    found = plan(asked(hosts))
    assert all(set(host) == {"enp1s0f1np1", "enP2p1s0f1np1"} for host in addresses(found).values())
    assert "enp1s0f0np0" not in "".join(found.files.values())


def test_what_is_planned_already_is_no_obstacle() -> None:
    """A second run, and one after the cable was moved to the other port."""
    first = plan(asked(pair()))
    again = pair()
    moved = {name: spark(number, (1,)) for number, name in enumerate(again, 1)}
    for name, host in again.items():
        own = own_addresses(first.files[name])
        assert own == {interface: [text] for interface, text in first.addresses[name].items()}
        for each in (host, moved[name]):
            each["file"] = first.files[name]
            for port in each["ports"]:
                port["addresses"] = [*port["addresses"], *own.get(port["name"], [])]
            each["routes"] = [*each["routes"], {"to": "192.168.100.0/24", "interface": "enp1s0f0np0"}]
    assert plan(asked(again)) == first
    assert set(addresses(plan(asked(moved)))["spark01"]) == {"enp1s0f1np1", "enP2p1s0f1np1"}


def test_the_file_is_what_netplan_reads() -> None:
    content = plan(asked(pair(), mtu=9000)).files["spark01"]
    assert content.startswith(MARKER)
    ethernets = yaml.safe_load(content)["network"]["ethernets"]
    assert list(ethernets) == list(PAIR)
    assert ethernets["enp1s0f0np0"] == {
        "addresses": ["192.168.100.1/24"],
        "dhcp4": False,
        "dhcp6": False,
        "accept-ra": False,
        "optional": True,
        "mtu": 9000,
    }
    assert "mtu" not in plan(asked(pair())).files["spark01"]


def test_the_smaller_mtu_is_tested_where_none_is_set() -> None:
    hosts = pair()
    hosts["spark02"] = change(hosts["spark02"], "enp1s0f0np0", mtu=9000)
    assert [check["mtu"] for check in plan(asked(hosts)).checks] == [1500, 1500]
    assert [check["mtu"] for check in plan(asked(hosts, mtu=9000)).checks] == [9000, 9000]


def test_rdma_is_measured_where_both_have_it() -> None:
    hosts = pair()
    assert {check["method"] for check in plan(asked(hosts)).checks} == {"sockets"}
    for host in hosts.values():
        host["commands"] = {**host["commands"], "ib_write_bw": "/usr/bin/ib_write_bw"}
    assert {check["method"] for check in plan(asked(hosts)).checks} == {"sockets"}
    for host in hosts.values():
        host["commands"] = {**host["commands"], "ib_write_lat": "/usr/bin/ib_write_lat"}
    assert {check["method"] for check in plan(asked(hosts)).checks} == {"rdma"}
    hosts["spark01"] = change(hosts["spark01"], "enP2p1s0f0np0", device=None)
    assert [check["method"] for check in plan(asked(hosts)).checks] == ["rdma", "sockets"]


def test_subnets_are_of_24_bits_where_there_is_room() -> None:
    assert [str(each) for each in subnets("10.0.0.0/16", 2)] == ["10.0.0.0/24", "10.0.1.0/24"]
    assert [str(each) for each in subnets("192.168.100.0/22", 6)][-1] == "192.168.102.128/25"
    assert [each.prefixlen for each in subnets("10.0.0.0/27", 6)] == [30] * 6


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_is_planned_or_refused(name: str) -> None:
    """The same ones are built of network namespaces."""
    situation = SITUATIONS[name]
    check_plan(
        plan(asked(as_read(situation), situation.topology, network=situation.network, mtu=situation.mtu)), situation
    )


# ---- what is refused ---------------------------------------------------------------------------------------------


def with_file(path: str) -> Hosts:
    hosts = pair()
    for name in PAIR:
        hosts["spark01"] = change(hosts["spark01"], name, files=[path])
    return hosts


def also(hosts: Hosts, name: str, **more: t.Any) -> Hosts:
    return {**hosts, name: {**hosts[name], **more}}


def without_carrier() -> Hosts:
    return {"spark01": spark(1), "spark02": spark(2, ())}


def down() -> Hosts:
    hosts = without_carrier()
    hosts["spark02"] = change(hosts["spark02"], "enp1s0f0np0", is_up=False)
    return hosts


def apart() -> Hosts:
    hosts = sparks(4)
    cable(hosts, (1, 0), (2, 0), (3, 0))
    return hosts


def to_switch() -> Hosts:
    hosts = pair()
    hosts["spark01"]["neighbors"] = [
        {"port": "enp1s0f0np0", "host": "sw01", "mac": "", "interface": "qsfp1", "address": ""}
    ]
    return hosts


def two_ports_on_a_switch() -> Hosts:
    hosts = sparks(2, (0, 1))
    cable(hosts, (1, 0), (1, 1), (2, 0), (2, 1))
    return hosts


FOREIGN = "192.168.100.10/24"
REFUSED: dict[str, tuple[dict[str, Facts], str]] = {
    "three are no pair": (
        asked(sparks(3)),
        "fabric_topology: pair needs 2 hosts, and the group has 3 (spark01, spark02, spark03); set it to one of pair,"
        " ring, switch, or change the group",
    ),
    "two are no ring": (asked(sparks(2, (0, 1)), "ring"), "fabric_topology: ring needs 3 hosts, and the group has 2"),
    "one on a switch": (asked(sparks(1), "switch"), "fabric_topology: switch needs 2 to 64 hosts"),
    "one was not read": (
        {**asked(pair()), "spark02": {}},
        "spark02 was not read: it cannot be reached, or -l leaves it out; a plan needs all hosts of the fabric",
    ),
    "two topologies": (
        {**asked(pair()), "spark02": asked(pair(), "switch")["spark02"]},
        "fabric_topology: switch of spark02 differs from pair of spark01; set the same for both",
    ),
    "no adapter": (
        asked(also(pair(), "spark02", ports=[])),
        "spark02 has no ConnectX-7 (no interface with the PCI id 15b3:1021)",
    ),
    "no cable": (asked(without_carrier()), "spark02: no carrier; 1 cabled port needed, cabled: none"),
    "interfaces are down": (
        asked(down()),
        "spark02: no carrier; interfaces are down, so run there: sudo ip link set enp1s0f0np0 up",
    ),
    "one twin has no carrier": (
        asked(also(pair(), "spark02", **change(spark(2), "enP2p1s0f0np0", carrier=False))),
        "spark02: no carrier on enP2p1s0f0np0, and its twin has one; run: sudo ip link set enP2p1s0f0np0 up",
    ),
    "the cable is the management interface": (
        asked(also(pair(), "spark01", management=["enP2p1s0f0np0", "enP7s7"])),
        "spark01: no carrier; 1 cabled port needed, cabled: none (enP2p1s0f0np0 is what the host is reached by, and is"
        " not touched)",
    ),
    "a ring with one cable": (
        asked(sparks(3), "ring"),
        "spark01: no carrier; 2 cabled ports needed, cabled: 0",
    ),
    "a ring with two cables between two hosts": (
        asked(ring(((1, 0), (2, 1)), ((1, 1), (2, 0))), "ring"),
        "a ring needs one cable between each two hosts; seen: port 0 of spark01 to port 1 of spark02, port 1 of spark01"
        " to port 0 of spark02; none between spark01 and spark03, spark02 and spark03",
    ),
    "a host is on no switch of the others": (
        asked(apart(), "switch"),
        "spark04 is not on the switch of spark01, spark02, spark03: they see one another, and nobody sees spark04",
    ),
    "a pair on a switch": (
        asked(to_switch()),
        "port 0 of spark01 is cabled to sw01 (LLDP), and pair means cables between the hosts; for a switch set"
        " fabric_topology: switch",
    ),
    "both ports of a pair on a switch": (
        asked(two_ports_on_a_switch()),
        "port 0 of spark01 and port 1 see each other; connect other hosts, or for a switch set fabric_topology: switch",
    ),
    **{
        path: (
            asked(with_file(path)),
            f"{path} of spark01 configures enp1s0f0np0, enP2p1s0f0np0; move it away (sudo mv {path} /root/), run"
            " `sudo netplan apply` there, and try again",
        )
        for path in (
            "/etc/netplan/40-cx7.yaml",
            "/etc/netplan/99-nvidia-sync-cluster.yaml",
            "/etc/netplan/98-spark-vllm-docker.yaml",
            "/etc/netplan/90-NM-2ff5b4a2.yaml",
        )
    },
    "an address of others": (
        asked(also(pair(), "spark01", **change(spark(1), "enp1s0f0np0", addresses=[FOREIGN]))),
        "enp1s0f0np0 of spark01 has 192.168.100.10/24, which is not of this role; remove it: sudo ip address del"
        " 192.168.100.10/24 dev enp1s0f0np0",
    ),
    "a bond": (
        asked(also(pair(), "spark01", **change(spark(1), "enp1s0f0np0", master="bond0"))),
        "enp1s0f0np0 of spark01 is part of bond0; remove it from there",
    ),
    "the network of the office": (
        asked(pair(), network="192.168.0.0/22"),
        "fabric_network: 192.168.1.0/24 overlaps 192.168.1.41/24 of enP7s7 on spark01; choose a network that no host"
        " uses, such as 10.201.0.0/22",
    ),
    "a route": (
        asked(also(pair(), "spark02", routes=[{"to": "192.168.96.0/19", "interface": "wg0"}])),
        "fabric_network: 192.168.100.0/24 overlaps 192.168.96.0/19 of wg0 on spark02",
    ),
    "a network that is too small": (
        asked(switch(7), "switch", network="192.168.100.0/28"),
        "fabric_network: 192.168.100.0/28 has room for 6 hosts on a rail; use a larger one",
    ),
    "no netplan": (
        asked(also(pair(), "spark01", commands={"netplan": None, "systemd-run": "/usr/bin/systemd-run"})),
        "spark01 has no netplan; the role writes its configuration only",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(name: str) -> None:
    hosts, line = REFUSED[name]
    found = plan(hosts)
    assert found.problems[0].startswith(line), found.problems
    assert (found.files, found.addresses, found.checks) == ({}, {}, [])


def test_a_default_route_and_docker_are_no_overlap() -> None:
    assert plan(asked(also(pair(), "spark01", routes=[{"to": "0.0.0.0/0", "interface": "wg0"}]))).problems == []
