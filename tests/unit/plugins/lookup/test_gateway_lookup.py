# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway forwards to, and which inventories cannot work."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.dgxspark.vllm.plugins.lookup import gateway
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.gateway import Gateway
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.virtual_address import Member, virtual_address
from host_vars import HostVars

KEY = "0123456789abcdef0123456789abcdef"
OPEN = {"vllm_publish_address": "0.0.0.0", "vllm_api_key": KEY}
SPARK01 = {"ansible_host": "192.168.1.41", **OPEN}
SPARK02 = {"ansible_host": "192.168.1.42", **OPEN}


def look(
    hosts: dict[str, dict[str, t.Any]],
    here: str = "gw",
    others: dict[str, dict[str, t.Any]] | None = None,
    **variables: t.Any,
) -> dict[str, t.Any]:
    """All HOSTS are Sparks; the gateway is HERE, another host unless it is one of them. OTHERS are more gateways."""
    others = others or {}
    variables = {"gateway_keys": [{"name": "ada", "key": KEY}], **variables}
    known = {**hosts, **others, here: {**hosts.get(here, {}), **variables}}
    groups = {"spark": list(hosts), "gateway": [here, *others]}
    values = {"inventory_hostname": here, "groups": groups, "hostvars": HostVars(known)}
    plugin = gateway.LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader(), variables=values))
    found: dict[str, t.Any] = plugin.run([], variables=values)[0]
    return found


def test_it_returns_what_it_documents() -> None:
    documented = yaml.safe_load(gateway.RETURN)["_value"]["contains"]
    found = look({"spark01": SPARK01})
    assert list(found) == list(documented) == list(Gateway._fields)
    assert found["models"] == documented["models"]["sample"]
    assert found["clients"] == documented["clients"]["sample"]


def test_of_hosts_that_serve_together_only_the_first_is_a_server() -> None:
    pair = {"vllm_nodes": ["spark01", "spark02"], "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"}
    found = look({"spark01": {**SPARK01, **pair}, "spark02": {**SPARK02, **pair}})
    (model,) = found["models"]
    assert [server["name"] for server in model["servers"]] == ["spark01"]
    assert found["problems"] == []


def test_units_are_grouped_by_the_name_that_clients_ask_for_and_no_secret_is_returned() -> None:
    found = look(
        {
            "spark01": SPARK01,
            "spark02": {**SPARK02, "vllm_port": trust_as_template("{{ 8000 + 1 }}")},
            "spark03": {**SPARK02, "vllm_extra_args": {"served_model_name": ["small", "other"]}},
        },
        gateway_keys=[{"name": "ada", "key": KEY, "concurrent": 3}, {"name": "bob", "key": KEY[::-1]}],
        gateway_concurrent=7,
    )
    assert [(model["name"], model["backend"], model["servers"]) for model in found["models"]] == [
        (
            "Qwen/Qwen3-8B-FP8",
            "Qwen_Qwen3-8B-FP8-8c5c177b",
            [
                {"name": "spark01", "address": "192.168.1.41:8000"},
                {"name": "spark02", "address": "192.168.1.42:8001"},
            ],
        ),
        ("small", "small-7545ea13", [{"name": "spark03", "address": "192.168.1.42:8000"}]),
    ]
    assert [client["concurrent"] for client in found["clients"]] == [3, 7]
    assert found["problems"] == []
    assert KEY not in str(found)


def test_a_spark_that_is_the_gateway_reaches_itself_on_loopback_without_a_key() -> None:
    (model,) = look({"spark01": {"ansible_host": "192.168.1.41"}}, here="spark01")["models"]
    assert (model["key_of"], model["servers"]) == ("", [{"name": "spark01", "address": "127.0.0.1:8000"}])


PROBLEMS: dict[str, tuple[dict[str, dict[str, t.Any]], str]] = {
    "loopback": (
        {"spark01": {"ansible_host": "192.168.1.41"}},
        "vllm_publish_address: 127.0.0.1 of spark01 cannot be reached from gw of the group gateway; publish it with"
        " vllm_api_key: docs/guides/one-address.md",
    ),
    "a name": (
        {"spark01": {**OPEN, "ansible_host": "spark01.lan"}},
        "gateway_server_address: 'spark01.lan' is not an IPv4 address at which gw can reach spark01; set it to one,"
        " such as 192.168.1.41",
    ),
    "two keys": (
        {"spark01": SPARK01, "spark02": {**SPARK02, "vllm_api_key": KEY[::-1]}},
        "vllm_api_key of spark02 differs from that of spark01, and both serve Qwen/Qwen3-8B-FP8; the gateway has one"
        " key for each model: set the same",
    ),
    "a blank in a name": (
        {"spark01": {**SPARK01, "vllm_extra_args": {"served_model_name": "my model"}}},
        "spark01 serves 'my model'; with a gateway, the name of a model has letters, digits and . _ / : @ + - only: set"
        " served_model_name in vllm_extra_args",
    ),
    "a host's name": (
        {"spark/1": SPARK01},
        "'spark/1' cannot be the name of a server in HAProxy; use letters, digits and . _ : - only",
    ),
    "nothing": ({}, "the group spark has no hosts, so the gateway has nothing to forward to"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_cannot_work_is_named(name: str) -> None:
    hosts, line = PROBLEMS[name]
    assert look(hosts)["problems"] == [line]


def test_a_gateway_without_keys_is_of_no_use() -> None:
    (line,) = look({"spark01": SPARK01}, gateway_keys=[])["problems"]
    assert line.startswith("gateway_keys: is empty, so nobody could use the gateway; add a key such as {name: ada")


def test_an_address_of_its_own_is_used() -> None:
    found = look({"spark01": {**OPEN, "ansible_host": "spark01.lan", "gateway_server_address": "10.0.0.1"}})
    assert found["models"][0]["servers"] == [{"name": "spark01", "address": "10.0.0.1:8000"}]


@pytest.mark.parametrize("bad", [{"vllm_port": "many"}, {"vllm_model": "no-such-model"}])
def test_a_bad_variable_of_another_host_names_that_host(bad: dict[str, t.Any]) -> None:
    with pytest.raises(AnsibleError, match="gateway: .*spark02: vllm_|gateway: spark02"):
        look({"spark01": SPARK01, "spark02": {**SPARK02, **bad}})


VIRTUAL = {"gateway_virtual_address": "192.168.1.50/24"}
OWN = {"ansible_host": "192.168.1.40", **VIRTUAL}
SECOND = {"ansible_host": "192.168.1.39", **VIRTUAL}


def test_gateways_share_an_address_and_the_first_comes_first() -> None:
    documented = yaml.safe_load(gateway.RETURN)["_value"]["contains"]
    found = look({"spark01": SPARK01}, others={"gw2": SECOND}, **OWN)
    assert (found["virtual"], found["problems"]) == (documented["virtual"]["sample"], [])
    three = {"gw2": SECOND, "gw3": {**SECOND, "ansible_host": "192.168.1.38"}}
    assert look({"spark01": SPARK01}, others=three, **OWN)["virtual"]["peers"] == ["192.168.1.39", "192.168.1.38"]


def test_each_of_the_two_gateways_names_the_other_one() -> None:
    members = [Member("gw1", "192.168.1.40", "192.168.1.50/24"), Member("gw2", "192.168.1.39", "192.168.1.50/24")]
    one, two = (virtual_address(name, members, {})[0] for name in ("gw1", "gw2"))
    assert one is not None
    assert two is not None
    assert ([one.own], [two.own]) == (two.peers, one.peers)
    assert one.priority > two.priority
    assert virtual_address("spark01", members, {}) == (None, [])


def test_without_the_variable_no_address_moves() -> None:
    other = {"ansible_host": "gw2.lan"}
    found = look({"spark01": SPARK01}, others={"gw2": other}, ansible_host="gw.lan")
    assert (found["virtual"], found["problems"]) == (None, [])


def test_a_gateway_that_is_reached_elsewhere_says_its_address() -> None:
    other = {**SECOND, "ansible_host": "gw2.lan", "gateway_server_address": "192.168.1.38"}
    assert look({"spark01": SPARK01}, others={"gw2": other}, **OWN)["virtual"]["peers"] == ["192.168.1.38"]


MOVES: dict[str, tuple[dict[str, dict[str, t.Any]], dict[str, t.Any], str]] = {
    "alone": (
        {},
        OWN,
        "gateway_virtual_address: gw is alone in the group gateway; name a second host there, or leave it empty",
    ),
    "another one": (
        {"gw2": {**SECOND, "gateway_virtual_address": "192.168.1.51/24"}},
        OWN,
        "gateway_virtual_address: 192.168.1.50/24 of gw differs from 192.168.1.51/24 of gw2; the gateways share one:"
        " set the same, in group_vars/gateway",
    ),
    "one has none": (
        {"gw2": SECOND},
        {"ansible_host": "192.168.1.40"},
        "gateway_virtual_address: empty of gw differs from 192.168.1.50/24 of gw2; the gateways share one: set the"
        " same, in group_vars/gateway",
    ),
    "a Spark has it": (
        {"gw2": {**SECOND, "gateway_virtual_address": "192.168.1.41/24"}},
        {**OWN, "gateway_virtual_address": "192.168.1.41/24"},
        "gateway_virtual_address: 192.168.1.41 is the address of spark01; use one that no host has",
    ),
    "a gateway has it": (
        {"gw2": {**SECOND, "ansible_host": "192.168.1.50"}},
        OWN,
        "gateway_virtual_address: 192.168.1.50 is the address of gw2; use one that no host has",
    ),
    "a name": (
        {"gw2": {**SECOND, "ansible_host": "gw2.lan"}},
        OWN,
        "gateway_server_address: 'gw2.lan' of gw2 is not an IPv4 address in 192.168.1.0/24, the network of"
        " gateway_virtual_address; set it to the one that gw2 has there",
    ),
    "another network": (
        {"gw2": SECOND},
        {**OWN, "ansible_host": "10.0.0.40"},
        "gateway_server_address: '10.0.0.40' of gw is not an IPv4 address in 192.168.1.0/24, the network of"
        " gateway_virtual_address; set it to the one that gw has there",
    ),
    "one host twice": (
        {"gw2": {**SECOND, "ansible_host": "192.168.1.40"}},
        OWN,
        "gw and gw2 of the group gateway have the same address, 192.168.1.40; name two hosts",
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_an_address_that_cannot_move_is_named(name: str) -> None:
    others, own, line = MOVES[name]
    found = look({"spark01": SPARK01}, others=others, **own)
    assert (found["virtual"], found["problems"]) == (None, [line])
