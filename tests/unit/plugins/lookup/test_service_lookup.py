# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup around the resolver: which variables it reads, in the role and outside of it, and what it refuses."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.dgxspark.vllm.plugins.lookup import service
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import Resolved
from host_vars import HostVars

SPARK = {"memory": {"total_bytes": 130674379980, "available_bytes": 124554051584}, "services": [], "listener": None}


def look(*terms: str, variables: dict[str, t.Any] | None = None, **options: t.Any) -> list[dict[str, t.Any]]:
    given = variables or {}
    plugin = service.LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader(), variables=given))
    found: list[dict[str, t.Any]] = plugin.run(list(terms), variables=given, **options)
    return found


def test_it_returns_what_it_documents() -> None:
    documented = yaml.safe_load(service.RETURN)["_value"]["contains"]
    fields = [field.name for field in dataclasses.fields(Resolved)]
    assert list(documented) == fields == list(look(host=SPARK)[0])
    samples = {name: item["sample"] for name, item in documented.items() if "sample" in item}
    kinds = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
    (found,) = look(host=SPARK)
    for name, item in documented.items():
        assert isinstance(found[name], kinds[item["type"]]), name
    for name in ("unit", "home", "container", "url", "hf_cache", "utilization", "utilization_cap", "needed_bytes"):
        assert found[name] == samples[name], name
    assert found["capped_by"] == samples["capped_by"]


def test_the_roles_defaults_stand_in_outside_of_the_role() -> None:
    (found,) = look()
    assert (found["entry"]["name"], found["profile"], found["hf_cache"]) == ("qwen3-8b-fp8", "throughput", "/opt/hf")


def test_templates_are_filled_in_also_with_defaults() -> None:
    variables = {
        "vllm_container_name": trust_as_template("{{ vllm_service_name }}-one"),
        "vllm_port": trust_as_template("{{ base + 1 }}"),
        "hf_cache_path": trust_as_template("{{ disk }}/hf"),
        "base": 8000,
        "disk": "/data",
    }
    (found,) = look(variables=variables)
    assert (found["container"], found["url"], found["hf_cache"]) == ("vllm-one", "http://127.0.0.1:8001", "/data/hf")


def test_a_model_for_each_term() -> None:
    found = look("llama31-8b-fp8", "Qwen/Qwen3-8B-FP8", variables={"vllm_model": "nothing"}, host=SPARK)
    assert [each["entry"]["name"] for each in found] == ["llama31-8b-fp8", "qwen3-8b-fp8"]
    assert all(each["plan"]["fits"] for each in found)


def test_all_models() -> None:
    mine = {"id": "a/b", "weights_bytes": 10, "layers": 1, "kv_heads": 1, "head_dim": 8, "native_context": 4096}
    found = look("*", variables={"vllm_models": {"mine": mine}})
    assert [each["entry"]["name"] for each in found] == [*Catalog().models(), "mine"]


def test_what_is_known_of_the_host_and_the_model() -> None:
    info = {"id": "a/b", "weights_bytes": 10**10, "layers": 2, "kv_heads": 4, "head_dim": 16, "native_context": 40960}
    remedy = {"vllm_max_model_len": 1000}
    (found,) = look(variables={"vllm_model": "a/b"}, host=SPARK, remedy=remedy, model_info=info)
    assert found["args"]["max_model_len"] == found["plan"]["context"] == 1000


def test_a_variable_that_it_does_not_read_may_be_broken() -> None:
    assert look(variables={"vllm_hf_token": trust_as_template("{{ no_such }}"), "vllm_watchdog": [1]})


@pytest.mark.parametrize(
    ("variables", "options", "line"),
    [
        ({"vllm_model": "nothing"}, {}, 'service: vllm_model: "nothing" is not in the catalog; known: '),
        ({"vllm_port": "x"}, {}, 'service: vllm_port: "x" is not allowed; use a whole number'),
        ({"vllm_port": trust_as_template("{{ no_such }}")}, {}, "service: vllm_port: cannot be read"),
        ({}, {"hosts": {}}, "service: hosts is not an option; use host, remedy, model_info or image_probe"),
        ({}, {"host": ["x"]}, "service: host must be a mapping"),
        ({"vllm_extra_args": {"max-num-seqs": 1}}, {}, "service: max-num-seqs: is not the name of an option"),
    ],
)
def test_refused_with_one_line(variables: dict[str, t.Any], options: dict[str, t.Any], line: str) -> None:
    with pytest.raises(AnsibleError) as refused:
        look(variables=variables, **options)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def pair(here: str, nodes: t.Any, **other: t.Any) -> dict[str, t.Any]:
    """The variables of HERE in an inventory of two hosts."""
    address = trust_as_template("192.168.100.{{ number }}")
    hosts = {
        name: {"vllm_nodes": nodes, "vllm_node_address": address, "number": number, **other}
        for number, name in enumerate(("spark01", "spark02"), 1)
    }
    return {**hosts[here], "inventory_hostname": here, "hostvars": HostVars(hosts)}


def test_hosts_that_serve_together_find_one_another_in_the_inventory() -> None:
    for rank, here in enumerate(("spark01", "spark02")):
        (found,) = look(variables=pair(here, ["spark01", "spark02"], vllm_image="nvcr.io/nvidia/vllm:26.07-py3"))
        assert found["nodes"] == yaml.safe_load(service.RETURN)["_value"]["contains"]["nodes"]["sample"]
        assert (found["rank"], found["args"]["node_rank"]) == (rank, rank)
        assert found["environment"]["VLLM_HOST_IP"] == f"192.168.100.{rank + 1}"


@pytest.mark.parametrize(
    ("nodes", "other", "line"),
    [
        (["spark02", "spark03"], {}, "service: vllm_nodes: spark02, spark03 are not spark01; add it, or empty"),
        (["spark01", "spark03"], {}, "service: vllm_nodes: spark03 is not in the inventory"),
        (["spark01", "spark02"], {"vllm_node_address": ["x"]}, "service: spark01: vllm_node_address: a list is not"),
    ],
)
def test_hosts_that_cannot_serve_together(nodes: list[str], other: dict[str, t.Any], line: str) -> None:
    with pytest.raises(AnsibleError) as refused:
        look(variables=pair("spark01", nodes, **other))
    assert line in str(refused.value)
