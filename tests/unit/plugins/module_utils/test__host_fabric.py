# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iproute2, lldpd, perftest, sysfs and files of netplan say of the ConnectX-7 of a Spark."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import fabric, link_speed, neighbors
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[3] / "fixtures" / "fabric"
PORT = {"name": "enp1s0f0np0", "mac": "4c:bb:47:2a:00:02"}


def fixture(name: str) -> str:
    return (FIXTURES / name).read_text()


def adapter(folder: Path, name: str, pci: str, **files: str) -> None:
    """An interface as /sys/class/net has it."""
    device = folder / "devices" / pci
    values = {"device/vendor": "0x15b3", "device/device": "0x1021", "flags": "0x1003", "mtu": "1500", **files}
    (folder / "net" / name).mkdir(parents=True)
    device.mkdir(parents=True, exist_ok=True)
    (folder / "net" / name / "device").symlink_to(device)
    for file, text in values.items():
        path = folder / "net" / name / file.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


@pytest.fixture
def sysfs(tmp_path: Path) -> str:
    for domain in ("0000", "0002"):
        prefix = "enP2p1s0" if domain == "0002" else "enp1s0"
        for port in (0, 1):
            pci = f"{domain}:01:00.{port}"
            link = {"carrier": "1", "speed": "200000"} if port == 0 else {}  # without a cable they cannot be read
            adapter(
                tmp_path,
                f"{prefix}f{port}np{port}",
                pci,
                phys_port_name=f"p{port}",
                address="4C:BB:47:2A:00:02",
                **link,
            )
            (tmp_path / "devices" / pci / "infiniband" / f"roce{prefix[2:]}f{port}").mkdir(parents=True)
    adapter(tmp_path, "enP7s7", "0007:01:00.0", device__vendor="0x10ec", device__device="0x8127")
    adapter(tmp_path, "enp1s0f0v0", "0000:01:00.2")
    (tmp_path / "devices" / "0000:01:00.2" / "physfn").mkdir()
    return str(tmp_path / "net")


def test_the_twins_of_a_port_are_its_rails(sysfs: str) -> None:
    found = fabric.read_ports(sysfs)
    assert [(port["name"], port["port"], port["rail"], port["device"]) for port in found] == [
        ("enp1s0f0np0", 0, 0, "rocep1s0f0"),
        ("enP2p1s0f0np0", 0, 1, "roceP2p1s0f0"),
        ("enp1s0f1np1", 1, 0, "rocep1s0f1"),
        ("enP2p1s0f1np1", 1, 1, "roceP2p1s0f1"),
    ]
    assert (found[0]["carrier"], found[0]["speed_mbps"], found[0]["mac"]) == (True, 200000, "4c:bb:47:2a:00:02")
    assert (found[2]["carrier"], found[2]["speed_mbps"], found[2]["is_up"]) == (False, None, True)
    assert fabric.read_ports("/nowhere") == []


def test_addresses_routes_and_what_the_host_is_reached_by() -> None:
    addresses = fabric.parse_addresses(fixture("ip-addr.json"))
    assert addresses["enP7s7"]["addresses"] == ["192.168.1.41/24", "fe80::4ebb:47ff:fe2a:1/64"]
    assert addresses["enP2p1s0f0np0"]["master"] == "bond0"
    routes = fabric.parse_routes(fixture("ip-route.json"))
    assert routes[1] == {"to": "172.17.0.0/16", "interface": "docker0"}
    assert fabric.management(routes, addresses, "") == ["enP7s7"]
    assert fabric.management([], addresses, "172.17.0.1") == ["docker0"]
    assert fabric.management([{"to": "default", "interface": "bond0"}], addresses, "") == ["bond0", "enP2p1s0f0np0"]


def test_neighbors_by_lldp() -> None:
    assert fabric.parse_lldp(fixture("lldpctl.json")) == [
        {"port": "enp1s0f0np0", "host": "sw01", "mac": "", "interface": "bridge/qsfp56-dd-1-1"},
        {"port": "enp1s0f1np1", "host": "spark02", "mac": "4c:bb:47:2a:00:12", "interface": "enp1s0f0np0"},
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (fixture("40-cx7.yaml"), True),
        (fixture("99-nvidia-sync-cluster.yaml"), True),
        (fixture("98-spark-vllm-docker.yaml"), False),  # of the other port
        ("network:\n  renderer: NetworkManager\n", False),
        ("network:\n  ethernets:\n    # enp1s0f0np0: {}\n    enp1s0f0np01: {}\n", False),
        ('network:\n  ethernets:\n    all:\n      match: {name: "en*"}\n      dhcp4: true\n', True),
        ("network:\n  ethernets:\n    all:\n      match:\n        driver: mlx5_core\n", True),
        ("network:\n  ethernets:\n    all:\n      match:\n        driver: [r8127, 'mlx5_*']\n", True),
        ("network:\n  ethernets:\n    x:\n      match:\n        macaddress: 4C:BB:47:2A:00:02\n", True),
        ("network: {ethernets: {enp1s0f0np0: {dhcp4: false}}}\n", True),
        ("network:\n  bonds:\n    bond0:\n      interfaces: [enp1s0f0np0, enp1s0f1np1]\n", True),
        ("network:\n  ethernets:\n    wan:\n      match: {name: enP7*}\n", False),
    ],
)  # fmt: skip
def test_files_that_configure_an_interface(text: str, names: bool) -> None:
    assert fabric.named_in(text, PORT) is names


def test_a_file_hides_others_of_its_name_and_ours_is_no_other(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("run", "etc", "lib")]
    for folder in folders:
        folder.mkdir()
        (folder / "10-x.yaml").write_text(folder.name)
    (folders[1] / "60-dgxspark-fabric.yaml").write_text(f"{fabric.MARKER} ...\n")
    (folders[2] / "60-dgxspark-fabric.yaml").write_text("of others")
    (folders[1] / "90-y.yaml.bak").write_text("x")
    assert fabric.other_files(map(str, folders)) == {str(folders[0] / "10-x.yaml"): "run"}


def test_what_a_change_leaves_on_the_interface() -> None:
    before = "    enp1s0f0np0:\n      addresses: [10.0.0.1/24]\n      mtu: 9000\n"
    after = "    enp1s0f0np0:\n      addresses: [10.0.1.1/24]\n"
    assert fabric.leftovers(before, after, {}) == [
        ["address", "del", "10.0.0.1/24", "dev", "enp1s0f0np0"],
        ["link", "set", "enp1s0f0np0", "mtu", "1500"],
    ]
    assert fabric.leftovers(before, before, {}) == []
    assert fabric.missing(after, {"enp1s0f0np0": {"addresses": ["10.0.1.1/24"]}}) == []
    assert fabric.missing(after, {}) == ["10.0.1.1/24 on enp1s0f0np0"]


def test_bandwidth_of_perftest() -> None:
    assert link_speed.parse_ib_write_bw(fixture("ib_write_bw.txt")) == 92.59
    assert link_speed.parse_ib_write_bw("Couldn't connect to 192.168.100.2:18600\n") is None


def test_latency_of_perftest() -> None:
    assert link_speed.parse_ib_write_lat(fixture("ib_write_lat.txt")) == 2.04
    first_versions = (
        " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]\n 2  1000   1.93  9.41   2.04\n"
    )
    assert link_speed.parse_ib_write_lat(first_versions) == 2.04
    assert link_speed.parse_ib_write_lat("Couldn't connect to 192.168.100.2:18800\n") is None


def test_echo_requests() -> None:
    packet = link_speed.echo_request(7, 1, 1500)
    assert (len(packet), link_speed.checksum(packet)) == (1480, 0)
    header = bytes([0x45, *range(19)])
    assert link_speed.is_answer(header + b"\0" + packet[1:], 7, 1)
    assert not link_speed.is_answer(header + packet, 7, 1)  # a request
    assert not link_speed.is_answer(header + b"\0" + packet[1:], 7, 2)
    assert neighbors.is_reply(b"\x81" + neighbors.request(7, 1)[1:], 7)
    assert not neighbors.is_reply(neighbors.request(7, 1), 7)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr))
def test_parsers_read_anything(text: str) -> None:
    parsers: list[t.Callable[[str], t.Any]] = [
        fabric.parse_addresses,
        fabric.parse_routes,
        fabric.parse_lldp,
        fabric.own_addresses,
        fabric.own_mtus,
        link_speed.parse_ib_write_bw,
        link_speed.parse_ib_write_lat,
        lambda each: fabric.named_in(each, PORT),
    ]
    for parser in parsers:
        parser(text)
