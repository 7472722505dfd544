# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is named after its content. A name that changes restarts every server at its next deployment."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import to_bool, to_json
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.nodes import Node, Nodes
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve

from support.services import CATALOG, GIB, KNOWN, resolved, service, spark, values

ROLE = Path(__file__).resolve().parents[3] / "roles/vllm"
PROGRAM = Path(__file__).with_name("release_ids.py")
CDI = {"toolkit": {"cdi_devices": ["nvidia.com/gpu=all"]}, "docker": {"cdi_spec_dirs": ["/etc/cdi"]}}
# Nothing of it comes from the catalog, which may change.
MINE: dict[str, t.Any] = {
    "vllm_model": "mine",
    "vllm_models": {
        "mine": {
            "id": "a/b",
            "weights_bytes": 10**10,
            "layers": 4,
            "kv_heads": 2,
            "head_dim": 64,
            "native_context": 4096,
            "args": {"dtype": "half"},
            "environment": {"A": "$1"},
        }
    },
    "vllm_profile": "mine",
    "vllm_profiles": {"mine": {"args": {"gpu_memory_utilization": 0.8, "max_num_seqs": 4}}},
    "vllm_image": "registry.example.org/x/y:1",
    "vllm_images": {"registry.example.org/x/y:1": {"vllm": "0.32.0", "args": {"seed": 0}}},
    "vllm_api_key": "correct-horse-battery",
}


def by_ansible(*cases: tuple[dict[str, t.Any], dict[str, t.Any]]) -> list[str]:
    command = [sys.executable, str(PROGRAM), json.dumps(cases)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return t.cast(list[str], json.loads(run.stdout))


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ROLE / "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters["to_json"] = to_json
ENVIRONMENT.filters["basename"] = os.path.basename
ENVIRONMENT.filters["bool"] = to_bool


def all_rendered(templates: t.Iterable[str], host: dict[str, t.Any], **variables: t.Any) -> list[str]:
    typed = values(**variables)
    names = {name: typed[name] for name in KNOWN}
    names |= {"__vllm_resolved": {**resolved(host, **variables).as_dict(), "plan": {}}, "__vllm_release": ""}
    return [ENVIRONMENT.get_template(template).render(names) for template in templates]


def rendered(template: str, host: dict[str, t.Any], **variables: t.Any) -> str:
    return all_rendered([template], host, **variables)[0]


def by_hand(host: dict[str, t.Any], **variables: t.Any) -> str:
    """The same, thousands of times faster: the service file without release and plan, the secrets, one switch, and the
    middleware that asks for the key if there is one."""
    texts = all_rendered(("compose.yaml.j2", "env.j2"), host, **variables)
    switch = values(**variables)["vllm_drop_page_cache"]
    middleware = (ROLE / "files/dgxspark_require_key.py").read_text().rstrip() if variables.get("vllm_api_key") else ""
    return hashlib.sha256(f"{''.join(texts)}{switch}{middleware}".encode()).hexdigest()[:12]


def test_ansible_makes_the_names_from_the_same_things() -> None:
    cases: list[tuple[dict[str, t.Any], dict[str, t.Any]]] = [
        ({}, {}),
        ({}, spark()),
        (MINE, spark(**CDI)),
        ({"vllm_drop_page_cache": False, "vllm_hf_token": "hf_x"}, spark(services=[service("vllm-big", 60 * GIB)])),
        ({"vllm_service_name": "vllm-b", "hf_cache_path": "/data", "vllm_gpu": "none"}, spark()),
        (
            {
                "vllm_model": "/srv/models/mine",
                "vllm_files": [{"content": "{% raw %}{{ x }}{% endraw %}", "target": "/opt/files/a"}],
                "vllm_mounts": [{"source": "/srv/data", "target": "/data", "read_only": False}],
            },
            spark(),
        ),
    ]
    assert by_ansible(*cases) == [by_hand(host, **variables) for variables, host in cases]


def test_a_known_service_keeps_its_name() -> None:
    """Whoever changes this line restarts every server that is deployed."""
    assert by_hand(spark(**CDI), **MINE) == "596b8a6aed67"


def every() -> list[dict[str, str]]:
    catalog = Catalog()
    product = itertools.product(catalog.models(), catalog.profiles(), catalog.images())
    return [{"vllm_model": model, "vllm_profile": profile, "vllm_image": image} for model, profile, image in product]


QUIET = spark(**CDI)
BUSY = spark(40 * GIB, **CDI, services=[service("vllm", 60 * GIB, release="1" * 12)])
PARTS = 8
# Any two names are in some pair of parts.
PAIRS = list(itertools.combinations(range(PARTS), 2))


@functools.cache
def names(part: int) -> list[str]:
    return [by_hand(QUIET, **chosen) for chosen in every()[part::PARTS]]


@pytest.mark.in_turn(len(PAIRS))
@pytest.mark.parametrize("pair", PAIRS)
def test_every_model_profile_and_image_has_its_own_name(pair: tuple[int, int]) -> None:
    found = [name for part in pair for name in names(part)]
    assert len(set(found)) == len(found) >= 150


@pytest.mark.in_turn(PARTS)
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_else_goes_on_on_the_host_the_name_stays(part: int) -> None:
    """Only what is in the service file counts."""
    assert names(part) == [by_hand(BUSY, **chosen) for chosen in every()[part::PARTS]]


@pytest.mark.parametrize(
    ("host", "variables"),
    [
        (spark(), {}),  # no CDI
        (spark(**CDI, services=[service("vllm-big", 60 * GIB)]), {}),  # a smaller share
        (spark(**CDI), {"vllm_hf_token": "hf_other"}),
        (spark(**CDI), {"vllm_api_key": "another-horse-battery"}),
        (spark(**CDI), {"vllm_drop_page_cache": False}),
        (spark(**CDI), {"vllm_port": 8001}),
        (spark(**CDI), {"vllm_home": "/srv/v"}),
        (spark(**CDI), {"hf_cache_path": "/data"}),
        (spark(**CDI), {"vllm_ipc": "private"}),
        (spark(**CDI), {"vllm_read_only_root": True}),
        (spark(**CDI), {"vllm_container_memory_gib": 16}),
        (spark(**CDI), {"vllm_ulimits": {"memlock": -1}}),
        (spark(**CDI), {"vllm_extra_args": {"seed": 1}}),
        (spark(**CDI), {"vllm_extra_env": {"B": "1"}}),
        (spark(**CDI), {"vllm_service_name": "vllm-b"}),
        (spark(**CDI), {"vllm_image_registry": "mirror.example.org"}),
        (spark(**CDI), {"vllm_files": [{"content": "a", "target": "/opt/files/a"}]}),
        (spark(**CDI), {"vllm_mounts": [{"source": "/srv/data", "target": "/data"}]}),
        (spark(**CDI), {"vllm_model": "/srv/models/mine"}),
    ],
)
def test_what_changes_the_service_changes_the_name(host: dict[str, t.Any], variables: dict[str, t.Any]) -> None:
    assert by_hand(host, **{**MINE, **variables}) != by_hand(spark(**CDI), **MINE)


@pytest.mark.parametrize(
    "variables",
    [
        {"vllm_port": "8000", "vllm_drop_page_cache": "yes"},
        {"vllm_start_timeout": 60, "vllm_watchdog": False},
        {"vllm_memory_reserve_gib": 11},
        {"vllm_enforce_memory_plan": False, "vllm_auto_remedy": True},
    ],
)
def test_what_does_not_change_the_service_keeps_the_name(variables: dict[str, t.Any]) -> None:
    assert by_hand(spark(**CDI), **{**MINE, **variables}) == by_hand(spark(**CDI), **MINE)


def test_hosts_that_serve_together_have_the_network_of_the_host_and_a_name_each() -> None:
    pair = {"vllm_nodes": ["spark01", "spark02"], "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"}
    found = {}
    for rank, address in enumerate(("192.168.100.1", "192.168.100.2")):
        read = spark(**CDI, interfaces=[{"name": "eth1", "addresses": [address]}], infiniband=["uverbs0"])
        together = Nodes((Node("spark01", "192.168.100.1"), Node("spark02", "192.168.100.2")), rank)
        found_service = resolve(values(**pair), CATALOG, read, members=together).as_dict()
        names = {name: values(**pair)[name] for name in KNOWN}
        text = ENVIRONMENT.get_template("compose.yaml.j2").render(
            {**names, "__vllm_resolved": found_service, "__vllm_release": ""}
        )
        (found[text],) = yaml.safe_load(text)["services"].values()
    assert len(found) == 2
    for one in found.values():
        assert "ports" not in one
        assert (one["network_mode"], one["devices"]) == ("host", ["/dev/infiniband"])
        assert "IPC_LOCK" in one["cap_add"]
        assert one["environment"]["NCCL_SOCKET_IFNAME"] == "eth1"
    alone = yaml.safe_load(rendered("compose.yaml.j2", spark(**CDI, infiniband=["uverbs0"])))
    (one,) = alone["services"].values()
    assert {"network_mode", "devices"}.isdisjoint(one)
    assert "IPC_LOCK" not in one["cap_add"]


def test_the_name_follows_from_the_content_of_the_files(tmp_path: Path) -> None:
    """And from nothing else of them: neither from where they lie nor from when they were changed."""

    def name(folder: str, content: str, target: str = "/opt/files/a") -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "x.jinja").write_text(content)
        return by_hand(spark(), vllm_files=[{"src": str(tmp_path / folder / "x.jinja"), "target": target}])

    first = name("one", "a")
    assert name("one", "b") != first != name("one", "a", "/opt/files/b")
    assert name("one", "a") == name("two", "a") == first
    assert by_hand(spark(), vllm_files=[{"content": "a", "target": "/opt/files/a"}]) == first


def test_each_mount_is_one_that_docker_makes_no_folder_for() -> None:
    variables = {
        "vllm_model": "/srv/models/mine",
        "vllm_files": [{"content": "a", "target": "/opt/files/a"}],
        "vllm_mounts": [{"source": "/srv/data", "target": "/data", "read_only": False}],
    }
    compose = yaml.safe_load(rendered("compose.yaml.j2", spark(), **variables))
    (service,) = compose["services"].values()
    digest = hashlib.sha256(b"a").hexdigest()[:16]
    assert [mount for mount in service["volumes"] if isinstance(mount, dict)] == [
        {"type": "bind", "source": source, "target": target, "read_only": reads, "bind": {"create_host_path": False}}
        for source, target, reads in (
            ("/srv/models/mine", "/models/mine", True),
            (f"/opt/vllm/releases//files/{digest}", "/opt/files/a", True),
            ("/srv/data", "/data", False),
        )
    ]


@pytest.mark.parametrize(
    ("variables", "gets_it"),
    [
        ({}, False),  # the model is complete before the server starts
        ({"vllm_hf_offline": True}, False),
        ({"vllm_download": False}, True),
        ({"vllm_extra_args": {"tokenizer": "some/other"}}, True),
    ],
)
def test_the_server_gets_the_token_only_if_it_may_download(variables: dict[str, t.Any], gets_it: bool) -> None:
    """The file .env has it either way: the download reads it there."""
    token = "hf_" + "a1B2" * 8
    assert ("HF_TOKEN" in rendered("compose.yaml.j2", spark(), vllm_hf_token=token, **variables)) == gets_it
    assert f"HF_TOKEN='{token}'" in rendered("env.j2", spark(), vllm_hf_token=token, **variables)


def test_the_middleware_is_there_only_with_a_key() -> None:
    with_key = rendered("compose.yaml.j2", spark(), vllm_api_key="k" * 16)
    mount = yaml.safe_load(with_key)["services"]["vllm-qwen3-8b-fp8"]["volumes"][-1]
    assert mount == {
        "type": "bind",
        "source": "/opt/vllm/releases//dgxspark_require_key.py",
        "target": "/opt/dgxspark/dgxspark_require_key.py",
        "read_only": True,
        "bind": {"create_host_path": False},
    }
    assert "k" * 16 not in with_key
    assert "dgxspark_require_key" not in rendered("compose.yaml.j2", spark())
