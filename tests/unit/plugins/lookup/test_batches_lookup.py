# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts of an inventory are in a batch together."""

from __future__ import annotations

import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.dgxspark.vllm.plugins.lookup import batches
from host_vars import HostVars

SIZES = ["1", "25%", "100%"]
PAIR = {"vllm_nodes": ["h1", "h2"]}


def look(**hosts: dict[str, t.Any]) -> list[str]:
    variables = {"groups": {}, "hostvars": HostVars(hosts), "ansible_play_hosts_all": list(hosts)}
    return batches.LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader())).run(SIZES, variables)


def test_machines_of_their_own() -> None:
    assert look(h1={}, h2={"ansible_host": "10.0.0.2"}, h3={}) == SIZES


def test_one_machine_is_one_address_and_port() -> None:
    one = {"ansible_host": "10.0.0.1"}
    assert look(h1=one, h2=one) == ["1", "1"]
    assert look(h1=one, h2={"ansible_host": "10.0.0.1"}, h3=one) == ["1", "1", "1"]
    assert look(h1={**one, "ansible_port": 22}, h2={**one, "ansible_port": 23}) == SIZES


def test_a_pair_is_one_and_works_on_both_machines() -> None:
    assert look(h1=PAIR, h2=PAIR, h3={}) == ["2", "1"]
    assert look(h0={}, h1=PAIR, h2=PAIR, beside={"ansible_host": "h2"}) == ["1", "2", "1"]


def test_what_cannot_be_read_is_said_elsewhere() -> None:
    assert look(h1={"vllm_nodes": "h1"}, h2={"vllm_nodes": ["h9", "h2"]}) == ["2"]


def test_before_the_variables_are_known() -> None:
    assert batches.LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader())).run(SIZES, {}) == SIZES
