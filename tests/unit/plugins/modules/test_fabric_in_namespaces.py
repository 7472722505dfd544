# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of a fabric is tried, kept, taken back and removed on real interfaces, and links are measured."""

from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.fabric import MARKER
from namespaces import FILE, RAILS, Host, Pair

from support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")

OTHERS = b"network:\n  renderer: NetworkManager\n"
MANAGEMENT = {"enP7s7": ["192.168.1.41/24"]}


def content(number: int, mtu: int = 0, network: str = "192.168.100") -> str:
    """One rail is enough."""
    mine = f"      mtu: {mtu}\n" if mtu else ""
    return (
        f"{MARKER}\nnetwork:\n  version: 2\n  ethernets:\n"
        f"    {RAILS[0]}:\n      addresses: [{network}.{number}/24]\n      optional: true\n{mine}"
    )


def addresses(*texts: str) -> dict[str, list[str]]:
    return {**({RAILS[0]: list(texts)} if texts else {}), **MANAGEMENT}


@pytest.fixture(scope="module", name="hosts")
def _hosts(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Pair]:
    found = Pair(tmp_path_factory.mktemp("fabric"))
    yield found
    found.stop()


@pytest.fixture
def pair(hosts: Pair) -> Pair:
    for host in (hosts.one, hosts.two):
        host.reset()
    (hosts.one.home / "etc" / "netplan" / "01-network-manager-all.yaml").write_bytes(OTHERS)
    return hosts


def trial(host: Host, text: str, **options: t.Any) -> dict[str, t.Any]:
    return host.module("fabric_netplan", state="trial", content=text, **options)


def confirmed(host: Host, text: str, **options: t.Any) -> dict[str, t.Any]:
    return host.module("fabric_netplan", state="confirmed", content=text, **options)


def test_the_file_is_tried_kept_changed_and_removed_to_the_byte(pair: Pair) -> None:
    host, before = pair.one, pair.one.files()
    looked = trial(host, content(1, 9000), check=True)
    assert (looked["changed"], looked["diff"]["before"], looked["diff"]["after"]) == (True, "", content(1, 9000))
    assert (host.files(), host.addresses()) == (before, addresses())

    assert trial(host, content(1, 9000))["pending"]
    assert host.addresses() == addresses("192.168.100.1/24")
    assert f"etc/netplan/{FILE}" not in host.files()  # a restart of the host would forget it
    assert confirmed(host, content(1, 9000))["changed"]
    assert host.files() == {**before, f"etc/netplan/{FILE}": (content(1, 9000).encode(), 0o600)}
    assert (host.mtu(RAILS[0]), (host.home / "timer").exists()) == (9000, False)

    assert not trial(host, content(1, 9000))["changed"]
    host.command("ip", "address", "flush", "dev", RAILS[0])
    assert trial(host, content(1, 9000), check=True)["changed"]

    trial(host, content(1, network="192.168.104"))
    confirmed(host, content(1, network="192.168.104"))
    assert host.addresses() == addresses("192.168.104.1/24")
    assert host.mtu(RAILS[0]) == 1500

    trial(host, "")
    assert confirmed(host, "")["changed"]
    assert (host.files(), host.addresses()) == (before, addresses())
    assert not trial(host, "")["changed"]


def test_what_nobody_confirms_is_taken_back_without_a_connection(pair: Pair) -> None:
    host = pair.one
    trial(host, content(1))
    confirmed(host, content(1))
    before = host.files()
    assert trial(host, content(1, 9000, "192.168.104"), timeout=1)["pending"]
    wait_until(lambda: host.addresses() == addresses("192.168.100.1/24"), "it is as before", 10, 0.05)
    wait_until(lambda: host.mtu(RAILS[0]) == 1500, "the MTU too", 10, 0.05)
    assert host.files() == before
    late = confirmed(host, content(1, 9000, "192.168.104"))
    assert late["msg"] == "the trial was taken back, because it was not confirmed in time or the host restarted"


def test_what_does_not_work_is_taken_back_at_once(pair: Pair) -> None:
    host = pair.one
    before = host.files()
    trial(host, content(1).replace(RAILS[0], "enp9"), timeout=30)
    assert (host.files(), host.addresses()) == (before, addresses())
    trial(host, content(1), timeout=30)
    host.command("ip", "address", "flush", "dev", RAILS[0])
    failed = confirmed(host, content(1), wait=0.2)["msg"]
    assert failed.endswith(f"there is no 192.168.100.1/24 on {RAILS[0]}. What was there before is applied again")
    assert (host.files(), (host.home / "timer").exists()) == (before, False)


def test_a_file_that_netplan_refuses_and_one_of_others_change_nothing(pair: Pair) -> None:
    host = pair.one
    path = f"{host.home}/etc/netplan/{FILE}"
    failed = trial(host, content(1) + "# broken\n")["msg"]
    assert failed == (
        f"{host.home}/bin/netplan generate --root-dir: {path}:1:1: Error in network definition: broken."
        " Nothing was changed"
    )
    Path(path).write_bytes(OTHERS)
    before = host.files()
    assert "is not a file of this collection. Nothing was changed" in trial(host, content(1))["msg"]
    assert "is not a file of this collection. Nothing was changed" in trial(host, "")["msg"]
    assert (host.files(), host.addresses()) == (before, addresses())


def test_links_are_measured_and_a_small_mtu_is_found(pair: Pair) -> None:
    for number, host in enumerate((pair.one, pair.two), 1):
        host.command("ip", "address", "add", f"192.168.100.{number}/24", "dev", RAILS[0])
        host.command("ip", "link", "set", RAILS[0], "mtu", "9000")
    end = {"interface": RAILS[0], "device": "", "speed_mbps": 0}
    check = {
        "number": 0,
        "rail": 0,
        "method": "sockets",
        "mtu": 9000,
        "client": {**end, "host": "spark01", "address": "192.168.100.1"},
        "server": {**end, "host": "spark02", "address": "192.168.100.2"},
    }

    def measure() -> dict[str, t.Any]:
        pair.two.module("fabric_measure", state="listening", checks=[check], timeout=20)
        found: dict[str, t.Any] = pair.one.module("fabric_measure", state="measured", checks=[check])["results"][0]
        return found

    good = measure()
    mac = json.loads(pair.two.command("ip", "-j", "link", "show", RAILS[0]))[0]["address"]
    assert (good["large"], good["small"], good["error"], good["answered_by"]) == (5, 5, "", mac)
    assert good["gbps"] > 0
    pair.two.command("ip", "link", "set", RAILS[0], "mtu", "1500")  # as a switch without jumbo frames
    small = measure()
    assert (small["large"], small["small"]) == (0, 5)
    pair.two.command("ip", "link", "set", RAILS[0], "down")
    gone = pair.one.module("fabric_measure", state="measured", checks=[check])["results"][0]
    assert (gone["small"], gone["gbps"], gone["error"]) == (0, None, "no answer to pings")


NEIGHBORS = """
import socket
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import neighbors
print(neighbors.answers({name: socket.if_nametoindex(name) for name in %r}, 1.0))
"""


def test_the_other_end_of_a_cable_answers(pair: Pair) -> None:
    def local(host: Host, name: str) -> list[str]:
        entries = json.loads(host.command("ip", "-j", "-6", "addr", "show", name))
        found = [each for entry in entries for each in entry["addr_info"]]
        return [each["local"] for each in found if not each.get("tentative")]

    wait_until(lambda: all(local(host, name) for host in (pair.one, pair.two) for name in RAILS), "IPv6", 10, 0.1)
    found = pair.one.command(sys.executable, "-c", NEIGHBORS % (RAILS,))
    for name in RAILS:
        assert str((name, local(pair.two, name)[0])) in found
