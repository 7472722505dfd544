# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Situations of network namespaces are read, planned, tried, taken back, kept and undone.

Whatever is planned, the interface by which a host is reached stays as it is, and so do files of others.
"""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.fabric import Plan, plan

from support.fabric_lab import OWN_FILE, Lab, cuts_the_controller, network
from support.fabric_situations import SITUATIONS, Situation, check_plan
from support.namespaces import MANAGEMENT, Host, missing
from support.paths import ROOT

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
FALLBACK = yaml.safe_load((ROOT / "roles/fabric/vars/main.yml").read_text())["__fabric_fallback"]  # seconds
OWN = f"etc/netplan/{OWN_FILE}"
Facts = dict[str, t.Any]
# All that are refused always. Of those that go the whole way, one of each kind; the others are variations of these.
ALWAYS = (
    *("a pair", "a pair with two cables", "a pair that cannot be seen", "a pair that had another network"),
    *("a pair with files of others for other interfaces", "a ring", "four on a switch", "a new host on a switch"),
)
CASES = [
    name if name in ALWAYS or not situation.planned else pytest.param(name, marks=pytest.mark.in_turn(4))
    for name, situation in SITUATIONS.items()
]


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("lab"))
    yield found
    found.stop()


def read_and_plan(hosts: t.Sequence[Host], situation: Situation) -> Plan:
    settings = {"topology": situation.topology, "network": situation.network, "mtu": situation.mtu}
    read = at_once(hosts, "fabric_info")
    return plan({host.home.name: {**settings, "info": each["fabric"]} for host, each in zip(hosts, read, strict=True)})


def at_once(hosts: t.Sequence[Host], module: str, contents: t.Sequence[str] = (), **options: t.Any) -> list[Facts]:
    """Results of a module on all hosts, with the content for each."""
    for index, host in enumerate(hosts):
        host.start(module, **(options | ({"content": contents[index]} if contents else {})))
    return [host.result() for host in hosts]


class State:
    """What is on hosts: files with their modes, addresses, MTU, routes."""

    def __init__(self, hosts: t.Sequence[Host], situation: Situation) -> None:
        self.files = [host.files() for host in hosts]
        self.network = [network(host) for host in hosts]
        kept = [{MANAGEMENT, "lo", *situation.management.get(number, ())} for number in range(1, len(hosts) + 1)]
        self.management = [
            {name: found[name] for name in names} for found, names in zip(self.network, kept, strict=True)
        ]
        self.others = [{path: each for path, each in files.items() if path != OWN} for files in self.files]


@pytest.mark.parametrize("name", CASES)
def test_a_situation(lab: Lab, name: str) -> None:
    situation = SITUATIONS[name]
    hosts = lab.arrange(situation)
    before, reached = State(hosts, situation), [lab.reaches(host) for host in hosts]
    found = read_and_plan(hosts, situation)
    check_plan(found, situation)
    if found.problems:
        assert vars(State(hosts, situation)) == vars(before)
        return
    contents = [found.files[host.home.name] for host in hosts]
    planned = [situation.planned[number] for number in range(1, len(hosts) + 1)]

    # It cuts off who could confirm it, and is taken back without them.
    assert all(each["pending"] for each in at_once(hosts, "fabric_netplan", contents, state="trial", timeout=FALLBACK))
    tried = State(hosts, situation)
    assert (tried.management, addresses(tried)) == (before.management, planned)
    for host, each in zip(hosts, planned, strict=True):
        assert lab.reaches(host) is not cuts_the_controller(each.values())
        assert host.timer()[1] == FALLBACK
        host.elapse()
    assert vars(State(hosts, situation)) == vars(before)
    assert [lab.reaches(host) for host in hosts] == reached

    # It is confirmed, and nothing is left to do.
    at_once(hosts, "fabric_netplan", contents, state="trial")
    assert all(each["changed"] for each in at_once(hosts, "fabric_netplan", contents, state="confirmed"))
    kept = State(hosts, situation)
    assert (kept.management, kept.others, addresses(kept)) == (before.management, before.others, planned)
    assert [files[OWN] for files in kept.files] == [(content.encode(), 0o600) for content in contents]
    assert read_and_plan(hosts, situation).files == found.files
    assert not any(each["changed"] for each in at_once(hosts, "fabric_netplan", contents, state="trial"))

    # It is undone.
    empty = [""] * len(hosts)
    at_once(hosts, "fabric_netplan", empty, state="trial")
    assert all(each["changed"] for each in at_once(hosts, "fabric_netplan", empty, state="confirmed"))
    undone = State(hosts, situation)
    assert (undone.management, undone.files, addresses(undone)) == (before.management, before.others, [{}] * len(hosts))
    if not situation.earlier:
        assert vars(undone) == vars(before)


def addresses(state: State) -> list[dict[str, str]]:
    """IPv4 addresses of cables."""
    return [
        {
            name: text
            for name, entry in each.items()
            if name not in management
            for text in entry.get("addresses", [])
            if ":" not in text
        }
        for each, management in zip(state.network, state.management, strict=True)
    ]
