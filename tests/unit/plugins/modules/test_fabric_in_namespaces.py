# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of a fabric is tried, kept, taken back and removed on real interfaces, and links are measured."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.fabric import MARKER
from ansible_collections.dgxspark.vllm.plugins.modules import fabric_info

from support.namespaces import MANAGEMENT, RAILS, Host, Pair, missing
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

OTHERS = b"network:\n  renderer: NetworkManager\n"
FILE = "60-dgxspark-fabric.yaml"
RAIL = next(iter(RAILS))


def content(number: int, mtu: int = 0, network: str = "192.168.100") -> str:
    """One rail is enough."""
    mine = f"      mtu: {mtu}\n" if mtu else ""
    return (
        f"{MARKER}\nnetwork:\n  version: 2\n  ethernets:\n"
        f"    {RAIL}:\n      addresses: [{network}.{number}/24]\n      optional: true\n{mine}"
    )


def addresses(*texts: str) -> dict[str, list[str]]:
    return {**({RAIL: list(texts)} if texts else {}), MANAGEMENT: ["192.168.1.41/24"]}


@pytest.fixture(scope="module", name="hosts")
def _hosts(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Pair]:
    found = Pair(tmp_path_factory.mktemp("fabric"))
    yield found
    found.stop()


@pytest.fixture
def pair(hosts: Pair) -> Pair:
    for host in hosts.hosts:
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
    assert (host.links()[RAIL]["mtu"], (host.home / "timer").exists()) == (9000, False)

    assert not trial(host, content(1, 9000))["changed"]
    host.command("ip", "-4", "address", "flush", "dev", RAIL)
    assert trial(host, content(1, 9000), check=True)["changed"]

    trial(host, content(1, network="192.168.104"))
    confirmed(host, content(1, network="192.168.104"))
    assert host.addresses() == addresses("192.168.104.1/24")
    assert host.links()[RAIL]["mtu"] == 1500

    trial(host, "")
    assert confirmed(host, "")["changed"]
    assert (host.files(), host.addresses()) == (before, addresses())
    assert not trial(host, "")["changed"]


def test_what_nobody_confirms_is_taken_back_without_a_connection(pair: Pair) -> None:
    host = pair.one
    trial(host, content(1))
    confirmed(host, content(1))
    before = host.files()
    assert trial(host, content(1, 9000, "192.168.104"), timeout=5)["pending"]
    wait_until(lambda: host.addresses() == addresses("192.168.100.1/24"), "it is as before", pause=0.05)
    wait_until(lambda: host.links()[RAIL]["mtu"] == 1500, "the MTU too", pause=0.05)
    assert host.files() == before
    late = confirmed(host, content(1, 9000, "192.168.104"))
    assert late["msg"] == "the trial was taken back, because it was not confirmed in time or the host restarted"


def test_what_does_not_work_is_taken_back_at_once(pair: Pair) -> None:
    host = pair.one
    before = host.files()
    trial(host, content(1).replace(RAIL, "enp9"), timeout=30)
    assert (host.files(), host.addresses()) == (before, addresses())
    trial(host, content(1), timeout=30)
    host.command("ip", "-4", "address", "flush", "dev", RAIL)
    failed = confirmed(host, content(1), wait=0.2)["msg"]
    assert failed.endswith(f"there is no 192.168.100.1/24 on {RAIL}. What was there before is applied again")
    assert (host.files(), (host.home / "timer").exists()) == (before, False)


def test_a_file_that_netplan_refuses_and_one_of_others_change_nothing(pair: Pair) -> None:
    host = pair.one
    path = host.home / "etc" / "netplan" / FILE
    failed = trial(host, content(1) + "# broken\n")["msg"]
    assert failed == (
        f"{host.home}/bin/netplan generate --root-dir: /etc/netplan/{FILE}:1:1: Error in network definition: broken."
        " Nothing was changed"
    )
    path.write_bytes(OTHERS)
    before = host.files()
    assert "is not a file of this collection. Nothing was changed" in trial(host, content(1))["msg"]
    assert "is not a file of this collection. Nothing was changed" in trial(host, "")["msg"]
    assert (host.files(), host.addresses()) == (before, addresses())


def test_links_are_measured_and_a_small_mtu_is_found(pair: Pair) -> None:
    for number, host in enumerate((pair.one, pair.two), 1):
        host.command("ip", "address", "add", f"192.168.100.{number}/24", "dev", RAIL)
        host.command("ip", "link", "set", RAIL, "mtu", "9000")
    end = {"interface": RAIL, "device": "", "speed_mbps": 0}
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
        found: dict[str, t.Any] = pair.one.module("fabric_measure", state="measured", checks=[check])["measured"][0]
        return found

    good = measure()
    assert (good["large"], good["small"], good["error"]) == (5, 5, "")
    assert good["answered_by"] == pair.two.links()[RAIL]["address"]
    assert good["gbps"] > 0
    pair.two.command("ip", "link", "set", RAIL, "mtu", "1500")  # as a switch without jumbo frames
    small = measure()
    assert (small["large"], small["small"]) == (0, 5)
    pair.two.command("ip", "link", "set", RAIL, "down")
    gone = pair.one.module("fabric_measure", state="measured", checks=[check])["measured"][0]
    assert (gone["small"], gone["gbps"], gone["error"]) == (0, None, "no answer to pings")


def test_the_adapter_its_addresses_and_its_neighbors_are_read(pair: Pair) -> None:
    wait_until(lambda: all(len(host.addresses("inet6")) == 3 for host in pair.hosts), "IPv6 is there", pause=0.1)
    (pair.one.home / "etc" / "netplan" / "40-cx7.yaml").write_text(f"network:\n  ethernets:\n    {RAIL}: {{}}\n")
    found = pair.one.module("fabric_info")["fabric"]
    documented = yaml.safe_load(fabric_info.RETURN)["fabric"]["contains"]
    assert list(found) == list(documented)
    assert set(found["ports"][0]) == set(documented["ports"]["sample"][0])
    assert [(port["name"], port["port"], port["rail"], port["files"]) for port in found["ports"]] == [
        ("enp1s0f0np0", 0, 0, ["/etc/netplan/40-cx7.yaml"]),
        ("enP2p1s0f0np0", 0, 1, []),
    ]
    assert (found["management"], found["file"], found["addresses"][MANAGEMENT][0]) == (
        [MANAGEMENT],
        None,
        "192.168.1.41/24",
    )
    far = {(name, texts[0].partition("/")[0]) for name, texts in pair.two.addresses("inet6").items() if name in RAILS}
    assert {(each["port"], each["address"]) for each in found["neighbors"]} == far


REACHED = """
import os, subprocess, sys
program = "from ansible_collections.dgxspark.vllm.plugins.modules.fabric_info import *; print(reached_address())"
print(subprocess.run([sys.executable, "-c", program], env={}, capture_output=True, text=True).stdout)
"""


def test_the_address_of_the_ssh_connection_is_found_below_sudo() -> None:
    """sudo keeps the variable from the module, but has it in its own environment."""
    environment = {**os.environ, "SSH_CONNECTION": "192.168.1.7 50022 192.168.1.41 22"}
    found = subprocess.run([sys.executable, "-c", REACHED], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "192.168.1.41"
