# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM offloads lies beside its share, in the same memory: in the plan, the cap, and the budget of services."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.budget import budget
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.remedies import plan_with_remedies
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.share import Budget

from support.services import CATALOG, GIB, TOTAL, resolved, spark, values

Values = dict[str, t.Any]

SPARK = Host(TOTAL, highest=0.91)
OLD_DGX_OS = Host(int(119.7 * GIB), highest=0.91)
GUIDE = {"max_model_len": 32768, "gpu_memory_utilization": 0.9, "max_num_batched_tokens": 16384, "max_num_seqs": 64}
ANY = {"id": "a/b", "weights_bytes": 10 * GIB, "layers": 32, "kv_heads": 8, "head_dim": 128, "native_context": 65536}
CHAT: Values = {"vllm_model": "qwen3-32b-fp8"}
EMBED: Values = {"vllm_service_name": "vllm-embed", "vllm_model": "qwen3-8b-fp8"}


def plan(entry: str | Values, host: Host = SPARK, **args: t.Any) -> Values:
    model = CATALOG.model(entry) if isinstance(entry, str) else entry
    return plan_with_remedies(model, host, {**GUIDE, **args}, {}, CATALOG.models(), "0.32.0")


def share(own: float) -> Values:
    return {"vllm_gpu_memory_utilization": own}


def found(*services: Values) -> Budget:
    return budget([values(**each) for each in services], CATALOG, spark())


def test_offloading_beside_a_cache_of_a_given_size() -> None:
    """The share is looked for at the start only: what is used is what counts."""
    model = {**ANY, "weights_bytes": 16 * GIB}
    much = plan(model, OLD_DGX_OS, gpu_memory_utilization=0.3, kv_cache_memory_bytes=70 * GIB, kv_offloading_size=40)
    assert not much["fits"]
    assert much["needed_bytes"] > 126 * GIB
    little = plan(model, OLD_DGX_OS, gpu_memory_utilization=0.85, kv_cache_memory_bytes=8 * GIB, kv_offloading_size=20)
    assert little["fits"]
    assert little["needed_bytes"] == pytest.approx(0.85 * OLD_DGX_OS.total, abs=1)  # which holds both


def test_offloading_that_lies_beside_too_large_a_share_has_remedies() -> None:
    found = plan("qwen3-32b-fp8", OLD_DGX_OS, kv_offloading_size=20)
    assert "20.0 GiB of offloading lie beside the 107.7 GiB that vLLM may use (0.90 of 119.7 GiB)" in found["problem"]
    assert found["remedies"][0].startswith("vllm_gpu_memory_utilization: 0.74 instead of 0.9;")
    assert found["remedies"][1].startswith("no kv_offloading_size, and vllm_gpu_memory_utilization: 0.9;")
    assert plan("qwen3-32b-fp8", OLD_DGX_OS, kv_offloading_size=20, gpu_memory_utilization=0.74)["fits"]
    assert plan("qwen3-32b-fp8", OLD_DGX_OS, gpu_memory_utilization=0.9)["fits"]


def test_a_share_is_said_without_what_is_offloaded() -> None:
    said = plan(ANY, OLD_DGX_OS, gpu_memory_utilization=0.85, kv_offloading_size=5)["reasons"]
    assert said[:2] == ["0.85 of 119.7 GiB is 101.7 GiB", "offloading takes 5.0 GiB beside that, of the same memory"]


def test_hosts_share_an_offloaded_cache() -> None:
    one, two = (plan(ANY, SPARK._replace(number=number), kv_offloading_size=20) for number in (1, 2))
    assert (one["offloaded_bytes"], two["offloaded_bytes"]) == (20 * GIB, 10 * GIB)


def test_offloaded_weights_leave_the_share() -> None:
    model = {**ANY, "weights_bytes": 60 * GIB}
    args: Values = {"gpu_memory_utilization": 0.45, "max_model_len": 8192}
    assert not plan(model, OLD_DGX_OS, **args)["fits"]
    found = plan(model, OLD_DGX_OS, **args, cpu_offload_gb=20)
    assert (found["fits"], found["weights_bytes"], found["offloaded_bytes"]) == (True, 40 * GIB, 20 * GIB)
    assert plan(model, OLD_DGX_OS, **args, cpu_offload_gb=100)["offloaded_bytes"] == 60 * GIB


@pytest.mark.parametrize(("gib", "utilization"), [(0, 0.9), (0.5, 0.9), (1.5, 0.9), (2, 0.9), (5, 0.87), (20, 0.75)])
def test_the_share_leaves_room_for_what_is_offloaded(gib: float, utilization: float) -> None:
    found = resolved(spark(), vllm_model="qwen3-32b-fp8", vllm_extra_args={"kv_offloading_size": gib})
    assert (found.plan["problem"], found.utilization) == (None, utilization)
    assert found.needed_bytes <= 111.7 * GIB + 1
    assert (f", less {gib:.1f} GiB of offloading" in found.capped_by) is (gib > 0)


@pytest.mark.parametrize(
    ("gib", "problem"),
    [
        (80, "than the 31.6 GiB that vLLM may use (0.26 of 121.7 GiB) beside 80.0 GiB of offloading"),
        (200, "200.0 GiB of offloading lie beside the 1.2 GiB that vLLM may use"),
    ],
)
def test_offloading_that_leaves_no_room_for_the_model(gib: int, problem: str) -> None:
    found = resolved(spark(), vllm_model="qwen3-32b-fp8", vllm_extra_args={"kv_offloading_size": gib})
    assert found.plan["remedies"][0].startswith("no kv_offloading_size, and vllm_gpu_memory_utilization: 0.9;")
    assert problem in found.plan["problem"]


def offloading(**gibs: float) -> dict[str, t.Any]:
    return {"vllm_extra_args": gibs}


def plans(together: Budget, *services: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return [resolve(values(**each), CATALOG, spark(), budget=together).plan for each in services]


@pytest.mark.parametrize("gib", [0.5, 1, 5, 20, 33])
@pytest.mark.parametrize("own", [{}, share(0.2)])
@pytest.mark.parametrize("which", [0, 1])
def test_services_that_offload_fit_together(which: int, own: dict[str, t.Any], gib: float) -> None:
    services = [CHAT, {**EMBED, **own}]
    services[which] = {**services[which], **offloading(kv_offloading_size=gib)}
    together = found(*services)
    assert together.problem == ""
    planned = plans(together, *services)
    assert [plan["problem"] for plan in planned] == [None, None]
    assert sum(plan["needed_bytes"] for plan in planned) <= TOTAL - 10 * GIB + len(planned)
    before = found(CHAT, {**EMBED, **own}).parts
    assert together.parts[1].share == before[1].share
    part = together.parts[which]
    assert part.planned_bytes == int(part.share * TOTAL) + gib * GIB
    assert part.text.startswith(f"{part.service} {part.share:.2f} (")
    assert f" with {gib:.1f} GiB of offloading" in part.text


def test_offloading_that_leaves_too_little_for_others() -> None:
    services = (CHAT, {**EMBED, **offloading(kv_offloading_size=80)})
    together = found(*services)
    assert together.parts[1].share == found(CHAT, EMBED).parts[1].share
    chat, embed = plans(together, *services)
    assert not chat["fits"]
    assert embed["fits"]
    much = found(CHAT, {**EMBED, **offloading(kv_offloading_size=200)})
    assert much.problem == (
        "vllm_gpu_memory_utilization: vllm-embed 0.17 leave nothing for vllm, and this host can give 0.00 of 121.7 GiB"
        " beside 200.0 GiB of offloading; give them less"
    )


def test_weights_that_are_offloaded_need_no_share() -> None:
    plain, moved = (found(CHAT, each).parts[1] for each in (EMBED, {**EMBED, **offloading(cpu_offload_gb=4)}))
    assert moved.share < plain.share
    assert moved.planned_bytes == pytest.approx(plain.planned_bytes, abs=0.01 * TOTAL)


CPU = {"cpu_bytes_to_use": 20 * GIB}
CONNECTORS: list[tuple[Values, Values, float]] = [
    ({"kv_connector": "OffloadingConnector", "kv_connector_extra_config": CPU}, {}, 20),
    ({"kv_connector": "SimpleCPUOffloadConnector"}, {}, 8),  # vLLM's own default
    ({"kv_connector": "SimpleCPUOffloadConnector", "kv_connector_extra_config": CPU}, {}, 20),
    ({"kv_connector": "LMCacheConnectorV1"}, {}, 5),  # LMCache's
    ({"kv_connector": "LMCacheConnectorV1"}, {"LMCACHE_MAX_LOCAL_CPU_SIZE": "12.5"}, 12.5),
    ({"kv_connector": "LMCacheConnectorV1"}, {"LMCACHE_LOCAL_CPU": "False"}, 0),
    (
        {"kv_connector": "LMCacheConnectorV1", "kv_connector_extra_config": {"lmcache.max_local_cpu_size": 3}},
        {"LMCACHE_MAX_LOCAL_CPU_SIZE": "12"},
        3,
    ),
    ({"kv_connector": "LMCacheConnectorV1"}, {"LMCACHE_CONFIG_FILE": "/opt/files/lmcache.yaml"}, 0),
    ({"kv_connector": "NixlConnector"}, {}, 0),
    (
        {
            "kv_connector": "MultiConnector",
            "kv_connector_extra_config": {
                "connectors": [{"kv_connector": "OffloadingConnector", "kv_connector_extra_config": CPU}, {}, None]
            },
        },
        {},
        20,
    ),
    ({"kv_connector": ["OffloadingConnector"]}, {}, 0),
]


@pytest.mark.parametrize(("connector", "environment", "gib"), CONNECTORS)
def test_what_a_connector_keeps_in_memory(connector: Values, environment: Values, gib: float) -> None:
    for written in (connector, json.dumps(connector)):
        args = {**GUIDE, "kv_transfer_config": written}
        planned = plan_with_remedies(ANY, SPARK, args, environment, CATALOG.models(), "0.32.0")
        assert planned["offloaded_bytes"] == gib * GIB
        told = "what the file of LMCACHE_CONFIG_FILE gives to LMCache is not planned"
        assert (told in planned["reasons"]) is ("LMCACHE_CONFIG_FILE" in environment)


def test_each_process_keeps_its_own() -> None:
    two = SPARK._replace(number=2)
    config: Values = {"kv_connector": "SimpleCPUOffloadConnector"}
    assert plan(ANY, two, kv_transfer_config=config)["offloaded_bytes"] == 4 * GIB
    config["kv_connector_extra_config"] = {"cpu_bytes_to_use_per_rank": 8 * GIB}
    assert plan(ANY, two, kv_transfer_config=config)["offloaded_bytes"] == 8 * GIB
    config = {"kv_connector": "LMCacheConnectorV1"}
    assert plan(ANY, two, kv_transfer_config=config)["offloaded_bytes"] == 5 * GIB


def test_a_connector_that_does_not_fit_is_named_in_the_remedy() -> None:
    much = {"kv_connector": "OffloadingConnector", "kv_connector_extra_config": CPU}
    found = plan("qwen3-32b-fp8", OLD_DGX_OS, kv_transfer_config=much)
    assert found["remedies"][1].startswith("no kv_transfer_config, and vllm_gpu_memory_utilization: 0.9;")


def test_a_cache_on_the_disk_takes_no_memory_nor_does_one_that_is_off() -> None:
    simple: Values = {"kv_connector": "SimpleCPUOffloadConnector"}
    disk = {"kv_connector_extra_config": {"kv_offload_backend": "disk", "disk_path": "/cache", **CPU}}
    assert plan(ANY, SPARK, kv_transfer_config={**simple, **disk})["offloaded_bytes"] == 0
    assert plan(ANY, SPARK, kv_transfer_config=simple, enable_prefix_caching=False)["offloaded_bytes"] == 0


def test_a_connector_whose_memory_nobody_knows_is_told() -> None:
    told = "what MooncakeStoreConnector keeps in memory is not planned"
    assert told in plan(ANY, SPARK, kv_transfer_config={"kv_connector": "MooncakeStoreConnector"})["reasons"]
