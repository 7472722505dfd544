# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve one model together by Ray: when, what each of them runs, and what it costs."""

from __future__ import annotations

import re
import typing as t

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.release_changes import parse
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.release_export import ExportError, export
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan import ray
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.nodes import Node, Nodes
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import Resolved, resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import problems
from test_release_ids import ENVIRONMENT

from support.services import CATALOG, GIB, KNOWN, resolved, spark, values

MEMBERS = (Node("spark01", "192.168.100.1"), Node("spark02", "192.168.100.2"))
IMAGE = "nvcr.io/nvidia/vllm:25.11-py3"
TOGETHER = {"vllm_nodes": ["spark01", "spark02"], "vllm_image": IMAGE}
NAME = "vllm-qwen3-8b-fp8"


def rank(number: int, probe: t.Mapping[str, t.Any] | None = None, **variables: t.Any) -> Resolved:
    host = spark(interfaces=[{"name": "enp1s0f0np0", "addresses": [MEMBERS[number].address]}])
    return resolve(
        values(**{**TOGETHER, **variables}), CATALOG, host, image_probe=probe, members=Nodes(MEMBERS, number)
    )


def compose(number: int, **variables: t.Any) -> str:
    typed = values(**{**TOGETHER, **variables})
    shown = {"__vllm_resolved": rank(number, **variables).as_dict(), "__vllm_release": "0" * 12}
    return ENVIRONMENT.get_template("compose.yaml.j2").render(**{name: typed[name] for name in KNOWN}, **shown)


@pytest.mark.parametrize(
    ("image", "by_ray"),
    [
        ("nvcr.io/nvidia/vllm:25.09-py3", True),
        ("nvcr.io/nvidia/vllm:25.10-py3", True),  # whether it has Ray, only the image can say
        ("nvcr.io/nvidia/vllm:25.12-py3", True),  # whether it has --nnodes nobody says, and the guide starts Ray
        ("nvcr.io/nvidia/vllm:26.02-py3", False),  # it has both
        ("nvcr.io/nvidia/vllm:26.07-py3", False),
        ("scitrera/dgx-spark-vllm:0.15.0-t5", False),
        ("vllm/vllm-openai:v0.10.2", True),
    ],
)
def test_ray_where_vllm_does_not_span_hosts_by_itself(image: str, by_ray: bool) -> None:
    assert rank(0, vllm_image=image, vllm_image_allow=["unknown"]).by_ray is by_ray
    assert resolved(spark(), vllm_image=image, vllm_image_allow=["unknown"]).by_ray is False


def test_all_hosts_have_one_command_line() -> None:
    head, worker = rank(0), rank(1)
    assert head.argv == worker.argv
    assert " ".join(head.argv).endswith(
        "--tensor-parallel-size 2 --distributed-executor-backend ray --host 127.0.0.1 --port 8000"
    )
    assert "--nnodes" not in head.argv


def test_the_head_starts_vllm_when_all_have_joined() -> None:
    services = yaml.safe_load(compose(0))["services"]
    assert list(services) == [NAME, f"{NAME}-ray"]
    serve, cluster = services.values()
    assert serve["depends_on"] == {f"{NAME}-ray": {"condition": "service_healthy"}}
    assert cluster["command"][:4] == ["ray", "start", "--block", "--head"]
    check = cluster["healthcheck"]
    assert check["test"][:3] == ["CMD", "python3", "-c"]
    assert "while joined < 2:" in check["test"][3]
    compiled = compile(check["test"][3], "check", "exec")
    assert compiled is not None
    assert (check["timeout"], check["retries"]) == ("300s", 1)
    for key in ("image", "environment", "volumes", "deploy", "ipc", "network_mode", "cap_add", "ulimits"):
        assert serve[key] == cluster[key], key
    # who looks for the service finds the one with the API
    assert "dgxspark.vllm.service" not in cluster["labels"]
    assert cluster["labels"] == {"dgxspark.vllm.ray": "vllm", "dgxspark.vllm.release": "0" * 12}


def test_a_worker_runs_ray_under_the_name_of_the_service() -> None:
    services = yaml.safe_load(compose(1))["services"]
    assert list(services) == [NAME]
    (worker,) = services.values()
    assert worker["command"][:4] == ["ray", "start", "--block", "--address=192.168.100.1:29501"]
    assert "--node-ip-address=192.168.100.2" in worker["command"]
    assert worker["labels"]["dgxspark.vllm.service"] == "vllm"
    assert "healthcheck" not in worker
    assert "depends_on" not in worker


def test_what_ended_by_itself_is_cleaned_up_too() -> None:
    program = {"__vllm_program": "guard-program", "vllm_service_name": "vllm"}
    template = ENVIRONMENT.get_template("vllm.service.j2")
    unit = template.render(__vllm_resolved=rank(0).as_dict(), **program)
    stop, after = (re.search(rf"^{name}=(.+)$", unit, re.MULTILINE) for name in ("ExecStop", "ExecStopPost"))
    assert stop is not None
    assert after is not None
    assert stop[1] == after[1]
    assert "--abort-on-container-exit" in unit
    assert "ExecStopPost" not in template.render(__vllm_resolved=resolved(spark()).as_dict(), **program)


def test_an_image_that_starts_vllm_by_itself_starts_ray_instead() -> None:
    own = {"vllm_image": "vllm/vllm-openai:v0.10.2", "vllm_image_allow": ["unknown"]}
    _serve, cluster = rank(0, **own).containers
    assert (cluster["entrypoint"], cluster["command"][:2]) == (["ray"], ["start", "--block"])
    _serve, cluster = rank(0, vllm_entrypoint=["sh", "-c"]).containers
    assert cluster["entrypoint"] == ["ray"]


def test_each_port_is_said_and_one_of_those_that_are_closed() -> None:
    first, last = ray.ports(29501)
    for number in (0, 1):
        found = rank(number)
        command = found.containers[-1]["command"]
        named = dict(word[2:].split("=") for word in command if "=" in word)
        ports = [int(value) for name, value in named.items() if name.endswith("port")]
        assert len(set(ports)) == len(ports) == (10 if number == 0 else 8)
        assert all(first <= port <= last for port in ports)
        assert found.facts["closed_ports"] == [first, last]
    assert rank(0).containers[-1]["command"].count("--dashboard-host=127.0.0.1") == 1
    assert rank(0, vllm_image="nvcr.io/nvidia/vllm:26.07-py3").facts["closed_ports"] == [first, first]


def test_its_memory_is_bounded_and_counted() -> None:
    assert f"--object-store-memory={GIB}" in rank(1).containers[0]["command"]
    native = rank(1, vllm_image="nvcr.io/nvidia/vllm:26.07-py3")
    found = rank(1)
    assert found.utilization_cap == pytest.approx(native.utilization_cap - 0.03, abs=0.011)
    assert "less 3.0 GiB of Ray" in found.capped_by
    assert found.needed_bytes == found.plan["needed_bytes"] + ray.MEMORY_BYTES
    assert found.environment["RAY_memory_monitor_refresh_ms"] == "0"
    assert found.environment["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_bad_kernel_for_several_hosts_is_one_with_ray_too() -> None:
    interfaces = [{"name": "enp1s0f0np0", "addresses": [MEMBERS[0].address]}]
    bad = spark(interfaces=interfaces, os={"kernel": "7.0.0-1019-nvidia"})
    assert resolve(values(**TOGETHER), CATALOG, bad, members=Nodes(MEMBERS, 0)).host_faults


def test_without_a_gpu_it_has_none() -> None:
    assert "--num-gpus=1" in rank(0).containers[-1]["command"]
    assert "--num-gpus=0" in rank(0, vllm_gpu="none").containers[-1]["command"]


def test_with_a_key_ray_asks_for_it_too() -> None:
    key = "correct-horse-battery-staple"
    for service in yaml.safe_load(compose(0, vllm_api_key=key))["services"].values():
        assert service["environment"]["RAY_AUTH_TOKEN"] == "${VLLM_API_KEY}"
    assert "RAY_AUTH" not in compose(0)
    assert key not in compose(0, vllm_api_key=key)


@pytest.mark.parametrize(
    ("probe", "is_refused"),
    [
        ({"ray": None, "errors": {}}, True),
        ({"ray": "2.49.1", "errors": {}}, False),
        ({"ray": None, "errors": {"ray": "it did not say"}}, False),
    ],
)
def test_an_image_that_says_that_it_has_no_ray_is_refused(probe: dict[str, t.Any], is_refused: bool) -> None:
    answer = {"image": {"name": IMAGE, "entrypoint": ["x"]}, "probe": probe}
    line = (
        f'vllm_image: "{IMAGE}" cannot serve a model on several hosts: it has no Ray (it was asked itself); use an'
        " image whose vLLM has the option nnodes"
    )
    assert rank(0, answer).probe_problems == ([line] if is_refused else [])


def test_such_a_pair_is_allowed() -> None:
    assert problems("vllm", {**TOGETHER, "vllm_node_address": "192.168.100.1"}, KNOWN, CATALOG) == []


def test_readers_of_the_release_read_the_one_with_the_api() -> None:
    files = parse(compose(0), "")
    assert files is not None
    assert files.kinds["command line"]["model"] == "Qwen/Qwen3-8B-FP8"
    with pytest.raises(ExportError, match="by Ray"):
        export(compose(0), {"release": "0" * 12}, {}, "/opt/vllm", {})
