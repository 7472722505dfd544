# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fabric.yml and remove_fabric.yml on two hosts that are namespaces: addresses, measurement, second run, removal."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from support.namespaces import MANAGEMENT, RAILS, Pair, missing
from support.playbook import AnsiblePlaybook
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

NVIDIA = b"network:\n  version: 2\n  ethernets:\n    enp1s0f0np0:\n      link-local: [ ipv4 ]\n"


@pytest.fixture(scope="module", name="pair")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Pair]:
    found = Pair(tmp_path_factory.mktemp("fabric"))
    wait_until(lambda: all(len(host.addresses("inet6")) == 3 for host in found.hosts), "IPv6 is there", pause=0.1)
    yield found
    found.stop()


@pytest.fixture(name="play")
def _play(pair: Pair, ansible_playbook: AnsiblePlaybook, tmp_path: Path) -> t.Callable[..., t.Any]:
    hosts = {
        host.home.name: {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(host.python),
            "ansible_become": False,
        }
        for host in pair.hosts
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"fabric": {"hosts": hosts}}))
    return lambda *arguments, **more: ansible_playbook(*arguments, inventory=inventory, timeout=600, **more)


def test_a_pair_is_set_up_measured_and_removed(pair: Pair, play: t.Callable[..., t.Any]) -> None:
    run = play("playbooks/fabric.yml", "--diff")
    assert run.code == 0, run.output
    assert "addresses: [192.168.100.1/24]" in run.output
    assert [host.addresses() for host in pair.hosts] == [
        {
            "enp1s0f0np0": [f"192.168.100.{number}/24"],
            "enP2p1s0f0np0": [f"192.168.101.{number}/24"],
            MANAGEMENT: [f"192.168.1.{40 + number}/24"],
        }
        for number in (1, 2)
    ]
    assert all(set(host.files()) == {"etc/netplan/60-dgxspark-fabric.yaml"} for host in pair.hosts)
    rows = [line.split() for line in run.output.splitlines() if line.split()[:1] in (["0"], ["1"])]
    assert [(*row[:4], row[5], *row[7:]) for row in rows] == [
        (str(rail), "spark01", "spark02", name, "1500", "2.0", "92.6", "rdma", "ok") for rail, name in enumerate(RAILS)
    ]

    again = play("playbooks/fabric.yml", "--check")
    assert (again.code, again.count("spark01", "changed")) == (0, 0), again.output

    run = play("playbooks/remove_fabric.yml")
    assert run.code == 0, run.output
    assert [host.files() for host in pair.hosts] == [{}, {}]
    assert all(set(host.addresses()) == {MANAGEMENT} for host in pair.hosts)


def test_a_file_of_others_on_one_host_stops_all(pair: Pair, play: t.Callable[..., t.Any]) -> None:
    path = pair.two.home / "etc" / "netplan" / "40-cx7.yaml"
    path.write_bytes(NVIDIA)
    run = play("playbooks/fabric.yml")
    path.unlink()
    assert run.code == 2
    assert "/etc/netplan/40-cx7.yaml of spark02 configures enp1s0f0np0; move it away" in run.words
    assert all(set(host.addresses()) == {MANAGEMENT} for host in pair.hosts)
