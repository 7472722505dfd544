# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service, resolved: what the role runs, on hosts of which spark_info would say that they are a Spark."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import ChoiceError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.remedies import plan_with_remedies
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import READS, ResolveError, resolve

from support.services import (
    CATALOG,
    GIB,
    KNOWN,
    TOTAL,
    resolved,
    service,
    spark,
    values,
)

LONG = {"vllm_model": "llama33-70b-fp8", "vllm_max_model_len": 131072}
HEAVY = {"id": "a/b", "weights_bytes": 10**13, "layers": 1, "kv_heads": 1, "head_dim": 64, "native_context": 40960}
BIG = service("vllm-big", 60 * GIB)


def test_the_guides_own_command() -> None:
    found = resolved(spark())
    assert " ".join(found.argv) == (
        "vllm serve Qwen/Qwen3-8B-FP8 --max-model-len 32768 --gpu-memory-utilization 0.90"
        " --max-num-batched-tokens 16384 --max-num-seqs 64 --enable-prefix-caching"
        " --served-model-name Qwen/Qwen3-8B-FP8"
    )
    assert found.environment == {
        "HF_HUB_CACHE": "/root/.cache/huggingface",
        "TRITON_CACHE_DIR": "/root/.cache/triton",
        "HF_HUB_OFFLINE": "1",
        "HF_MODULES_CACHE": "/root/.cache/huggingface-modules",
    }
    assert (found.plan["fits"], found.plan["context"], found.plan["utilization"]) == (True, 32768, 0.9)


@pytest.mark.parametrize(
    ("variables", "read_only"),
    [
        ({}, True),
        ({"vllm_download": False}, False),  # vLLM downloads
        ({"vllm_download": False, "vllm_hf_offline": True}, True),
        ({"vllm_extra_args": {"tokenizer": "a/b"}}, False),
        ({"vllm_extra_args": {"trust_remote_code": True}}, True),
        ({"vllm_extra_args": {"download_dir": "/root/.cache/huggingface"}}, False),  # vLLM makes a lock there
    ],
)
def test_a_server_that_downloads_nothing_cannot_write_to_the_cache(
    variables: dict[str, t.Any], read_only: bool
) -> None:
    assert resolved(spark(), **variables).hf_cache_read_only is read_only


def test_the_plan_is_that_of_the_model_the_options_and_the_cap() -> None:
    """The figures themselves: test__plan_memory.py."""
    found = resolved(spark(), **LONG, vllm_extra_env={"A": "1"})
    host = Host(TOTAL, found.utilization_cap)
    models, vllm = CATALOG.models(), found.image["vllm"]
    assert found.utilization_cap == 0.91
    assert found.plan == plan_with_remedies(found.entry, host, found.args, found.environment, models, vllm)


def test_explained_as_it_is_run() -> None:
    found = resolved(
        spark(),
        vllm_profile="latency",
        vllm_image_registry="harbor.example.org/nvcr",
        vllm_extra_args={"max_num_seqs": None, "kv_cache_dtype": "fp8"},
        vllm_extra_env={"TRITON_CACHE_DIR": "/tmp/triton"},
    )
    assert " ".join(found.argv) == (
        "vllm serve Qwen/Qwen3-8B-FP8 --max-model-len 16384 --gpu-memory-utilization 0.85"
        " --max-num-batched-tokens 8192 --served-model-name Qwen/Qwen3-8B-FP8 --kv-cache-dtype fp8"
    )
    assert found.image_ref == "harbor.example.org/nvcr/nvidia/vllm:25.09-py3"
    assert [" ".join(line.split()) for line in found.lines] == [
        "--max-model-len 16384 profile latency",
        "--gpu-memory-utilization 0.85 profile latency",
        "--max-num-batched-tokens 8192 profile latency",
        "(max_num_seqs is dropped) vllm_extra_args, instead of 16 of profile latency",
        "--served-model-name Qwen/Qwen3-8B-FP8 vllm_download (offline, vLLM would call the model by its folder)",
        "--kv-cache-dtype fp8 vllm_extra_args",
        "HF_HUB_CACHE=/root/.cache/huggingface the collection",
        "TRITON_CACHE_DIR=/tmp/triton vllm_extra_env, instead of /root/.cache/triton of the collection",
        "HF_HUB_OFFLINE=1 vllm_download",
        "HF_MODULES_CACHE=/root/.cache/huggingface-modules vllm_download",
    ]


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, ("vllm.service", "vllm-watchdog", "/opt/vllm", "vllm-qwen3-8b-fp8", "/opt/hf")),
        (
            {"vllm_service_name": "vllm-b", "vllm_model": "Qwen/Qwen3-32B-FP8", "hf_cache_path": "/data"},
            ("vllm-b.service", "vllm-b-watchdog", "/opt/vllm-b", "vllm-b-qwen3-32b-fp8", "/data"),
        ),
        (
            {"vllm_home": "/srv/v", "vllm_container_name": "mine"},
            ("vllm.service", "vllm-watchdog", "/srv/v", "mine", "/opt/hf"),
        ),
    ],
)
def test_names_and_folders(variables: dict[str, t.Any], names: tuple[str, ...]) -> None:
    found = resolved(**variables)
    assert (found.unit, found.watchdog, found.home, found.container, found.hf_cache) == names


@pytest.mark.parametrize(
    ("variables", "address", "url"),
    [
        ({}, "127.0.0.1", "http://127.0.0.1:8000"),
        ({"vllm_port": "8001"}, "127.0.0.1", "http://127.0.0.1:8001"),
        # no other variable has a say
        ({"vllm_api_key": "k" * 16}, "127.0.0.1", "http://127.0.0.1:8000"),
        ({"vllm_publish_without_api_key": "yes"}, "127.0.0.1", "http://127.0.0.1:8000"),
        ({"vllm_api_key": "k" * 16, "vllm_publish_address": "0.0.0.0"}, "0.0.0.0", "http://127.0.0.1:8000"),
        ({"vllm_api_key": "k" * 16, "vllm_publish_address": "10.0.0.1"}, "10.0.0.1", "http://10.0.0.1:8000"),
        ({"vllm_api_key": "k" * 16, "vllm_publish_address": "127.0.0.1"}, "127.0.0.1", "http://127.0.0.1:8000"),
    ],
)
def test_where_it_answers(variables: dict[str, t.Any], address: str, url: str) -> None:
    found = resolved(**variables)
    assert (found.address, found.url) == (address, url)


@pytest.mark.parametrize(
    ("wanted", "devices", "folders", "gpu"),
    [
        ("auto", ["nvidia.com/gpu=0", "nvidia.com/gpu=all"], ["/etc/cdi"], "cdi"),
        ("auto", ["nvidia.com/gpu=all"], [], "nvidia"),  # Docker was not told where to look
        ("auto", ["nvidia.com/gpu=all"], None, "nvidia"),
        ("auto", ["nvidia.com/gpu=0"], ["/etc/cdi"], "nvidia"),
        ("auto", [], ["/etc/cdi"], "nvidia"),
        ("none", ["nvidia.com/gpu=all"], ["/etc/cdi"], "none"),
        ("cdi", [], [], "cdi"),
    ],
)
def test_how_the_container_gets_the_gpu(wanted: str, devices: list[str], folders: t.Any, gpu: str) -> None:
    host = spark(toolkit={"cdi_devices": devices}, docker={"cdi_spec_dirs": folders})
    assert resolved(host, vllm_gpu=wanted).gpu == gpu


def test_a_host_without_docker_or_toolkit_or_any_look() -> None:
    assert resolved(spark(toolkit=None, docker=None)).gpu == "nvidia"
    found = resolved()
    assert (found.gpu, found.memory_bytes, found.plan, found.needed_bytes) == ("nvidia", 0, {}, 0)
    assert (found.utilization, found.utilization_cap, found.memory_is_taken) == (0.9, 1.0, False)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [({}, "Qwen/Qwen3-8B-FP8"), ({"served_model_name": "x"}, "x"), ({"served_model_name": ["x", "y"]}, "x")],
)
def test_the_name_that_clients_ask_for(wanted: dict[str, t.Any], name: str) -> None:
    assert resolved(vllm_extra_args=wanted).served_name == name
    online = resolved(vllm_extra_args={**wanted, "tokenizer": "a/b"})
    assert online.served_name == name


@pytest.mark.parametrize(
    ("host", "share"),
    [
        (spark(services=[BIG]), "0.42"),
        (spark(services=[BIG], listener={"container": "vllm-big-x"}), "0.90"),  # it will be stopped
    ],
)
def test_other_services_take_their_part(host: dict[str, t.Any], share: str) -> None:
    found = resolved(host, vllm_port=8001)
    assert f"--gpu-memory-utilization {share}" in " ".join(found.argv)


def test_what_was_found_to_fit_is_planned() -> None:
    assert not resolved(spark(), **LONG).plan["fits"]
    found = resolved(spark(), {"vllm_max_model_len": 120000}, **LONG)
    assert "120000" in found.argv
    assert found.plan["fits"]


def test_ways_out() -> None:
    found = resolved(spark(), **LONG).plan
    assert "one request of 131,072 tokens needs 40.0 GiB" in found["problem"]
    assert found["remedies"][0].startswith("vllm_max_model_len: 121856 instead of 131072")
    assert found["remedies"][1].startswith("vllm_extra_args: {kv_cache_dtype: fp8}; KV cache of 245,344 tokens")
    assert len(found["remedies"]) == 3
    heavy = resolved(spark(), vllm_model="heavy", vllm_models={"heavy": HEAVY})
    assert (heavy.plan["fits"], heavy.plan["max_context"], heavy.plan["remedies"]) == (False, 0, [])


def test_the_users_own_models_are_looked_at_for_a_smaller_form() -> None:
    small = {**CATALOG.models()["qwen3-8b-fp8"], "id": "a/small", "weights_bytes": 4 * 10**9}
    crowded = spark(services=[service("vllm-big", 100 * GIB)])
    found = resolved(crowded, vllm_max_model_len=16384, vllm_models={"mine": small})
    assert any(line.startswith("vllm_model: mine, with 3.7 GiB of weights") for line in found.plan["remedies"])


def test_without_a_gpu_nothing_is_needed_at_the_start() -> None:
    taken = spark(90 * GIB)
    assert resolved(taken).memory_is_taken
    found = resolved(taken, vllm_gpu="none")
    assert (found.memory_is_taken, found.needed_bytes) == (False, 0)
    assert found.plan["needed_bytes"] > 0
    assert found.facts["drop_page_cache"] is False


def test_a_model_that_nobody_has_described() -> None:
    found = resolved(spark(), vllm_model="a/Model")
    assert (found.entry["name"], found.plan) == ("model", {})
    assert found.argv[:3] == ["vllm", "serve", "a/Model"]
    info = {"id": "a/Model", "weights_bytes": 5 * GIB, "layers": 2, "kv_heads": 4, "head_dim": 16}
    other = resolved(spark(), model_info={**info, "id": "a/other"}, vllm_model="a/Model")
    assert other.plan == {}
    assert resolved(spark(), model_info=info, vllm_model="a/Model").plan["context"] == 32768  # the profile's
    endless = {"vllm_model": "a/Model", "vllm_extra_args": {"max_model_len": "auto"}}
    assert resolved(spark(), model_info=info, **endless).plan == {}  # vLLM finds what fits
    known = resolved(spark(), model_info={**info, "native_context": 40960}, **endless)
    assert known.plan["context"] == known.plan["max_context"] == 40960


def test_what_programs_on_the_host_have_to_know() -> None:
    assert resolved(spark(), vllm_api_key="k" * 16).facts == {
        "container": "vllm-qwen3-8b-fp8",
        "url": "http://127.0.0.1:8000",
        "model": "Qwen/Qwen3-8B-FP8",
        "image": "nvcr.io/nvidia/vllm:25.09-py3",
        "profile": "throughput",
        "api_key_file": ".env",
        "needed_bytes": resolved(spark()).plan["needed_bytes"],
        "drop_page_cache": True,
    }


@pytest.mark.parametrize(
    ("releases", "release"),
    [([], ""), ([None], ""), (["0" * 12], "0" * 12), (["latest"], ""), ([None, "a1" * 6], "a1" * 6)],
)
def test_the_release_of_the_container(releases: list[str | None], release: str) -> None:
    own = [service("vllm", GIB, release=each) for each in releases]
    assert resolved(spark(services=[service("vllm-big", GIB, release="f" * 12), *own])).container_release == release


def test_a_profile_without_a_share_gets_vllms_own() -> None:
    found = resolved(vllm_profile="few", vllm_profiles={"few": {"args": {"max_num_seqs": 8}}})
    assert (found.utilization_wish, found.args.get("gpu_memory_utilization")) == (0.9, None)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"vllm_model": "nothing"}, 'vllm_model: "nothing" is not in the catalog; known: '),
        ({"vllm_image": "nothing:1"}, 'vllm_image: "nothing:1" is not in the image matrix; '),
        ({"vllm_profile": "fast"}, 'vllm_profile: "fast" is no profile; known: throughput, '),
        ({"vllm_models": {"qwen3-8b-fp8": {"layers": "x"}}}, 'vllm_model: vllm_models.qwen3-8b-fp8.layers: "x" is not'),
    ],
)
def test_what_cannot_be_chosen(variables: dict[str, t.Any], line: str) -> None:
    with pytest.raises(ChoiceError) as refused:
        resolved(**variables)
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"vllm_extra_args": {"max-num-seqs": 1}}, "is not the name of an option; write max_num_seqs"),
        ({"vllm_profiles": {"throughput": {"args": {"gpu_memory_utilization": "x"}}}}, "'x' is no number; use a share"),
    ],
)
def test_what_cannot_be_resolved(variables: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ResolveError) as refused:
        resolved(spark(), **variables)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_planned() -> None:
    info = {"id": "a/b", "weights_bytes": GIB, "layers": None, "kv_heads": 4, "head_dim": 16, "native_context": 4096}
    with pytest.raises(ResolveError, match="nothing can be planned for a/b: layers is not known"):
        resolved(spark(), model_info=info, vllm_model="a/b")


def test_it_reads_what_it_says() -> None:
    """No token and no variable that the specification does not have."""

    class Watched:
        def __init__(self) -> None:
            self.seen: set[str] = set()

        def __getitem__(self, name: str) -> t.Any:
            self.seen.add(name)
            return values()[name]

    watched = Watched()
    resolve(watched, CATALOG, spark())
    assert watched.seen == set(READS) <= set(KNOWN)
    assert "vllm_hf_token" not in READS


def test_the_catalog_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One explain message looked models up 29 times, profiles 15 times."""
    asked: dict[str, int] = {}
    for name in ("model", "image", "profile", "models", "images", "profiles"):
        real = getattr(Catalog, name)

        def counted(*args: t.Any, _name: str = name, _real: t.Any = real, **kwargs: t.Any) -> t.Any:
            asked[_name] = asked.get(_name, 0) + 1
            return _real(*args, **kwargs)

        monkeypatch.setattr(Catalog, name, counted)
    resolved(spark())
    # model() reads the models for its one entry, and the plan reads them for its remedies
    assert asked == {"model": 1, "image": 1, "profile": 1, "models": 2, "images": 1, "profiles": 1}


def test_the_result_is_plain_and_holds_no_secret() -> None:
    key = "correct-horse-battery"
    found = resolved(spark(), vllm_api_key=key, vllm_hf_token="hf_" + "a1B2" * 8)
    assert key not in str(found)
    assert "hf_a1B2" not in str(found)
    assert found.as_dict()["memory_bytes"] == TOTAL
