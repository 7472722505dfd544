# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Prometheus scrapes what, and which inventories cannot work."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.dgxspark.vllm.plugins.lookup import scrape
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.scrape import Scrape
from host_vars import HostVars

KEY = "0123456789abcdef0123456789abcdef"
OPEN = {"vllm_publish_address": "0.0.0.0", "vllm_api_key": KEY}


def look(host: str, hosts: dict[str, dict[str, t.Any]], monitoring: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """SPARKS are all hosts but those that are named in MONITORING and begin with mon."""
    sparks = [name for name in hosts if not name.startswith("mon")]
    groups = {"spark": sparks, **({"monitoring": list(monitoring)} if monitoring else {})}
    variables = {"inventory_hostname": host, "groups": groups, "hostvars": HostVars(hosts)}
    plugin = scrape.LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader(), variables=variables))
    found: dict[str, t.Any] = plugin.run([], variables=variables)[0]
    return found


def addresses(found: dict[str, t.Any]) -> list[tuple[str, str, str]]:
    return [(target["job"], target["labels"]["host"], target["address"]) for target in found["targets"]]


def test_it_returns_what_it_documents() -> None:
    documented = yaml.safe_load(scrape.RETURN)["_value"]["contains"]
    found = look("spark01", {"spark01": {}})
    assert list(found) == list(documented) == list(Scrape._fields)
    assert found["targets"][:1] == documented["targets"]["sample"]


def test_one_spark_watches_itself_on_loopback() -> None:
    found = look("spark01", {"spark01": {"ansible_host": "192.168.1.41"}})
    assert (found["is_server"], found["is_lead"], found["listen"], found["problems"]) == (True, True, "127.0.0.1", [])
    assert addresses(found) == [("vllm", "spark01", "127.0.0.1:8000"), ("node", "spark01", "127.0.0.1:9100")]
    assert not found["targets"][0]["key"]


def test_of_hosts_that_serve_together_only_the_first_has_metrics_of_vllm() -> None:
    pair = {"vllm_nodes": ["spark01", "spark02"]}
    hosts: dict[str, dict[str, t.Any]] = {"spark01": pair, "spark02": pair}
    assert addresses(look("spark01", hosts))[0] == ("vllm", "spark01", "127.0.0.1:8000")
    found = look("spark02", hosts)
    assert addresses(found) == [("node", "spark02", "127.0.0.1:9100")]
    assert found["problems"] == []


def test_without_a_monitoring_host_each_spark_watches_itself_alone() -> None:
    hosts: dict[str, dict[str, t.Any]] = {"spark01": {}, "spark02": {"vllm_port": trust_as_template("{{ 8000 + 1 }}")}}
    assert addresses(look("spark02", hosts))[0] == ("vllm", "spark02", "127.0.0.1:8001")


def test_a_monitoring_host_scrapes_all_with_their_keys_and_no_secret_is_returned() -> None:
    hosts = {
        "spark01": {"ansible_host": "192.168.1.41", **OPEN},
        "spark02": {"ansible_host": "spark02.lan", "monitoring_address": "192.168.1.42", **OPEN},
        "mon": {},
    }
    found = look("mon", hosts, ["mon"])
    assert (found["is_server"], found["is_lead"], found["listen"], found["problems"]) == (True, False, "", [])
    assert addresses(found) == [
        ("vllm", "spark01", "192.168.1.41:8000"),
        ("node", "spark01", "192.168.1.41:9100"),
        ("vllm", "spark02", "192.168.1.42:8000"),
        ("node", "spark02", "192.168.1.42:9100"),
    ]
    assert [target["key"] for target in found["targets"] if target["job"] == "vllm"] == [True, True]
    assert KEY not in str(found)
    watched = look("spark02", hosts, ["mon"])
    assert (watched["is_server"], watched["listen"], watched["targets"]) == (False, "192.168.1.42", [])


def test_a_spark_that_watches_the_others_reaches_itself_on_loopback() -> None:
    hosts = {"spark01": {"ansible_host": "192.168.1.41"}, "spark02": {"ansible_host": "192.168.1.42", **OPEN}}
    found = look("spark01", hosts, ["spark01"])
    assert addresses(found) == [
        ("vllm", "spark01", "127.0.0.1:8000"),
        ("node", "spark01", "127.0.0.1:9100"),
        ("vllm", "spark02", "192.168.1.42:8000"),
        ("node", "spark02", "192.168.1.42:9100"),
    ]
    assert found["problems"] == []


def test_two_services_of_one_machine_have_one_node_exporter_and_one_label_host() -> None:
    one = {"ansible_host": "192.168.1.41"}
    hosts = {"spark01": one, "spark01-b": {**one, "vllm_service_name": "vllm-b", "vllm_port": 8001}}
    assert addresses(look("spark01", hosts)) == [
        ("vllm", "spark01", "127.0.0.1:8000"),
        ("node", "spark01", "127.0.0.1:9100"),
        ("vllm", "spark01", "127.0.0.1:8001"),
    ]
    second = look("spark01-b", hosts)
    assert (second["is_server"], second["is_lead"]) == (False, False)


def test_what_the_monitoring_host_cannot_reach_is_named() -> None:
    hosts = {"spark01": {"ansible_host": "192.168.1.41"}, "spark02": {"ansible_host": "spark02.lan", **OPEN}, "mon": {}}
    loopback, name = look("mon", hosts, ["mon"])["problems"]
    assert loopback == (
        "vllm_publish_address: 127.0.0.1 of spark01 cannot be reached from mon of the group monitoring; publish it with"
        " vllm_api_key, or remove that group: each Spark watches itself then"
    )
    assert name == (
        "monitoring_address: 'spark02.lan' is not an IPv4 address at which mon can reach spark02; set it to one, such"
        " as 192.168.1.41"
    )
    assert look("spark02", hosts, ["mon"])["problems"] == [name]


@pytest.mark.parametrize("bad", [{"vllm_port": "many"}, {"vllm_model": "no-such-model"}])
def test_a_bad_variable_of_another_host_names_that_host(bad: dict[str, t.Any]) -> None:
    with pytest.raises(AnsibleError, match="spark02: vllm_"):
        look("mon", {"spark01": OPEN, "spark02": {**OPEN, **bad}, "mon": {}}, ["mon"])
