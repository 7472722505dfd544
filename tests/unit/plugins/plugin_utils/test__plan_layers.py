# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The precedence, layer by layer. docs/reference/memory.md has it for people."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import Choice, choose
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.layers import layers
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.repositories import ELSEWHERE, repositories
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.settings import merged

from support.services import CATALOG, GIB, resolved, service, spark, values

LESS = {"vllm_gpu_memory_utilization": 0.3}


def everywhere(*sources: str) -> dict[str, t.Any]:
    """The variables that give max_num_seqs in these layers; each has its own number."""
    model: dict[str, t.Any] = {"id": "a/b", "weights_bytes": 10**9, "layers": 2, "kv_heads": 2, "head_dim": 32}
    model["native_context"] = 40000
    image: dict[str, t.Any] = {"vllm": "0.32.0"}
    profile = {"gpu_memory_utilization": 0.8}
    found: dict[str, t.Any] = {"vllm_model": "mine", "vllm_image": "x/y:1", "vllm_profile": "mine"}
    if "profile" in sources:
        profile["max_num_seqs"] = 1
    if "model" in sources:
        model["args"] = {"max_num_seqs": 2}
    if "image" in sources:
        image["args"] = {"max_num_seqs": 3}
    if "per_image" in sources:
        model["per_image"] = [{"image": "x/*", "args": {"max_num_seqs": 4}}]
    if "vllm_extra_args" in sources:
        found["vllm_extra_args"] = {"max_num_seqs": 5}
    found["vllm_models"] = {"mine": model}
    found["vllm_images"] = {"x/y:1": image}
    found["vllm_profiles"] = {"mine": {"args": profile}}
    return found


ORDER = {
    "profile": (1, "profile mine", "vllm_profiles.mine.args.max_num_seqs"),
    "model": (2, "model mine", "vllm_models.mine.args.max_num_seqs"),
    "image": (3, "image x/y:1", "vllm_images[x/y:1].args.max_num_seqs"),
    "per_image": (4, "image x/y:1", "vllm_models.mine.per_image.args.max_num_seqs"),
    "vllm_extra_args": (5, "vllm_extra_args", "vllm_extra_args.max_num_seqs"),
}


@pytest.mark.parametrize("number", range(len(ORDER)))
def test_the_order(number: int) -> None:
    """Each wins over all before it."""
    sources = list(ORDER)[: number + 1]
    typed = values(**everywhere(*sources))
    found = merged(layers(typed, choose(typed, CATALOG)))
    (item,) = [item for item in found.explained if item["name"] == "max_num_seqs"]
    seen = [(entry["value"], entry["from"], entry["at"]) for entry in (item, *item["over"])]
    assert seen == [ORDER[source] for source in reversed(sources)]
    assert found.args["max_num_seqs"] == number + 1


def test_a_remedy_wins_over_all() -> None:
    found = resolved(remedy={"vllm_max_num_seqs": 6}, **everywhere(*ORDER))
    assert found.args["max_num_seqs"] == 6
    assert found.lines[1].endswith("vllm_auto_remedy, instead of 5 of vllm_extra_args, 4 of image x/y:1, 3 of image"
                                   " x/y:1, 2 of model mine, 1 of profile mine")  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "kept"),
    [(None, []), ("mine.Log", ["mine.Log"]), (["mine.Log", "mine.ids"], ["mine.Log", "mine.ids"])],
)
def test_with_a_key_vllm_loads_our_middleware_too_as_the_last(theirs: str | list[str] | None, kept: list[str]) -> None:
    """vLLM asks the one first that was added last."""
    mine = {"vllm_extra_args": {"middleware": theirs}}
    assert middleware(resolved(**mine).argv) == kept
    assert middleware(resolved(**mine, vllm_api_key="k" * 16).argv) == [*kept, "dgxspark_require_key.RequireKey"]


def middleware(argv: list[str]) -> list[str]:
    """As vLLM takes it: one name each time."""
    return [name for option, name in itertools.pairwise(argv) if option == "--middleware"]


def test_where_vllm_finds_it_is_added_to_where_the_user_says() -> None:
    key, found = "k" * 16, resolved(vllm_api_key="k" * 16)
    assert (found.environment["PYTHONPATH"], found.require_key_file) == (
        "/opt/dgxspark",
        "/opt/dgxspark/dgxspark_require_key.py",
    )
    mine = resolved(vllm_api_key=key, vllm_extra_env={"PYTHONPATH": "/mine"})
    assert mine.environment["PYTHONPATH"] == "/opt/dgxspark:/mine"
    assert "PYTHONPATH" not in resolved().environment


def test_a_remedy_of_options_and_environment() -> None:
    remedy = {"vllm_extra_args": {"max_num_seqs": 6}, "vllm_extra_env": {"A": "7"}}
    found = resolved(remedy=remedy, **everywhere(*ORDER), vllm_extra_env={"A": "1", "B": "2"})
    assert (found.args["max_num_seqs"], found.environment["A"], found.environment["B"]) == (6, "7", "2")
    (told,) = [line for line in found.lines if line.startswith("A=")]
    assert told.split() == ["A=7", "vllm_auto_remedy,", "instead", "of", "1", "of", "vllm_extra_env"]


def test_named_variables_win_over_profile_and_model_and_the_host_over_those() -> None:
    mine = everywhere("model")
    mine["vllm_models"]["mine"]["args"]["max_model_len"] = 100
    assert resolved(**mine).args["max_model_len"] == 100
    assert resolved(**mine, vllm_max_model_len=200).args["max_model_len"] == 200
    assert resolved(**mine, vllm_gpu_memory_utilization=0.7).args["gpu_memory_utilization"] == 0.7
    small = spark(memory={"total_bytes": 20 * 2**30})
    found = resolved(small, **mine, vllm_gpu_memory_utilization=0.7)
    assert found.args["gpu_memory_utilization"] == 0.5
    assert found.lines[0].endswith(
        "this host (20.0 GiB, less 10 GiB of vllm_memory_reserve_gib), instead of 0.7 of vllm_gpu_memory_utilization,"
        " 0.8 of profile mine"
    )


def test_the_environment_has_the_same_order() -> None:
    mine = everywhere()
    mine["vllm_models"]["mine"].update(environment={"A": "1", "B": "1", "C": "1"})
    mine["vllm_models"]["mine"]["per_image"] = [{"vllm": ">=0.3", "environment": {"B": "3"}}]
    mine["vllm_images"]["x/y:1"]["environment"] = {"A": "2", "B": "2"}
    found = resolved(**mine, vllm_extra_env={"C": "4", "HF_ENDPOINT": "http://two"}, vllm_hf_endpoint="http://one")
    assert {name: found.environment[name] for name in ("A", "B", "C", "HF_ENDPOINT")} == {
        "A": "2",
        "B": "3",
        "C": "4",
        "HF_ENDPOINT": "http://two",
    }


@pytest.mark.parametrize(
    ("variables", "offline"),
    [
        ({}, True),
        ({"vllm_download": False}, False),
        ({"vllm_download": False, "vllm_hf_offline": True}, True),
        *(({"vllm_extra_args": {name: "a/b"}}, False) for name in ELSEWHERE),
        ({"vllm_extra_args": {"tokenizer": None}}, True),
        ({"vllm_extra_args": {"speculative_config": {"method": "mtp", "num_speculative_tokens": 3}}}, True),
        ({"vllm_extra_args": {"speculative_config": {"model": "a/draft", "num_speculative_tokens": 3}}}, True),
        ({"vllm_extra_args": {"speculative_config": '{"model": "a/draft"}'}}, True),
        ({"vllm_extra_args": {"speculative_config": "text"}}, False),
        # what lies at a path is in the container already
        ({"vllm_extra_args": {"speculative_config": {"model": "/models/draft", "num_speculative_tokens": 3}}}, True),
        ({"vllm_extra_args": {"tokenizer": "/opt/files/t", "hf_config_path": "a/b"}}, False),
        ({"vllm_extra_args": {"tokenizer": "/opt/files/t"}}, True),
        ({"vllm_extra_args": {"lora_modules": ["one=/adapters/one", "two=/adapters/two"]}}, True),
        ({"vllm_extra_args": {"lora_modules": ["one=/adapters/one", "two=a/b"]}}, False),
        ({"vllm_extra_args": {"lora_modules": {"name": "one", "path": "/adapters/one"}}}, True),
        ({"vllm_extra_args": {"lora_modules": {"name": "one", "path": "a/b"}}}, False),
        ({"vllm_extra_args": {"default_mm_loras": {"audio": "/adapters/one"}}}, True),
        ({"vllm_extra_args": {"load_format": "mistral"}}, False),
        ({"vllm_extra_args": {"load_format": "safetensors"}}, True),
        ({"vllm_extra_args": {"tokenizer": "a/t"}, "vllm_hf_offline": True}, True),
        ({"vllm_models": {"qwen3-8b-fp8": {"args": {"tokenizer": "a/t"}}}}, False),
        ({"vllm_profiles": {"throughput": {"args": {"lora_modules": "a=b/c"}}}}, False),
        (
            {
                "vllm_models": {"qwen3-8b-fp8": {"args": {"tokenizer": "a/t"}}},
                "vllm_extra_args": {"tokenizer": None},
            },
            True,
        ),
    ],
)
def test_a_server_that_reads_other_repositories_may_ask_the_hub(variables: dict[str, t.Any], offline: bool) -> None:
    found = resolved(**variables)
    assert ("HF_HUB_OFFLINE" in found.environment) is offline
    assert ("--served-model-name" in found.argv) is offline


def test_what_could_not_be_chosen_is_left_out() -> None:
    """The validation judges the rest all the same."""
    given = values(vllm_extra_args={"seed": 1})
    assert merged(layers(given, Choice(None, None, None))).args == {"seed": 1}
    whole = choose(given, CATALOG)
    without = layers(given, whole._replace(image=None))
    assert [layer.source for layer in without if layer.source.startswith("image")] == []
    assert merged(without).args["seed"] == 1


DRAFT = {"id": "a/draft", "weights_bytes": 7}


@pytest.mark.parametrize(
    ("args", "more"),
    [
        ({}, []),
        ({"speculative_config": {"method": "mtp"}}, []),
        ({"speculative_config": {"method": "ngram"}}, []),
        ({"speculative_config": {"model": "a/draft"}}, [("a/draft", "main", 7)]),
        ({"speculative_config": {"model": "a/draft", "revision": "v2"}}, [("a/draft", "v2", 7)]),
        ({"speculative_config": '{"model": "a/draft", "revision": "v2"}'}, [("a/draft", "v2", 7)]),
        ({"speculative_config": {"model": "another/draft"}}, [("another/draft", "main", None)]),
        ({"speculative_config": {"model": "a/model"}}, []),  # the model itself
        ({"speculative_config": {"model": "/root/.cache/draft"}}, []),
        ({"speculative_config": {"model": 7}}, []),
        ({"speculative_config": "text"}, []),
    ],
)
def test_what_is_downloaded(args: dict[str, t.Any], more: list[tuple[str, str, int | None]]) -> None:
    model = {"id": "a/model", "weights_bytes": 5, "draft": DRAFT}
    found = [(entry["id"], entry["revision"], entry["bytes"]) for entry in repositories(model, args)]
    assert found == [("a/model", "main", 5), *more]
    in_a_folder = repositories({**model, "folder": "/srv/model"}, args)
    assert [entry["id"] for entry in in_a_folder] == [entry[0] for entry in more]


@pytest.mark.parametrize(
    ("neighbor", "share", "origin"),
    [
        (0, 0.7, "vllm_auto_remedy, instead of 0.8 of profile mine"),
        (60, 0.42, "less 60.0 GiB of vllm-two), instead of 0.7 of vllm_auto_remedy, 0.8 of profile mine"),
    ],
)
def test_the_share_of_a_remedy_is_a_wish_that_the_host_caps(neighbor: int, share: float, origin: str) -> None:
    """What is reported is what the command line has."""
    host = spark(services=[service("vllm-two", neighbor * GIB)])
    found = resolved(host, remedy={"vllm_gpu_memory_utilization": 0.7}, **everywhere())
    assert found.args["gpu_memory_utilization"] == found.utilization == share
    assert found.utilization_wish == 0.7
    assert (found.capped_for, found.utilization_cap >= share) == (["vllm-two"] if neighbor else [], True)
    (line,) = [each for each in found.lines if each.startswith("--gpu-memory-utilization")]
    assert line.endswith(origin)


def test_the_cap_that_is_reported_is_that_of_the_remedy() -> None:
    host = spark(services=[service("vllm-two", 60 * GIB)])
    plain, remedied = (resolved(host, remedy=remedy, **everywhere()) for remedy in (None, LESS))
    assert (remedied.args["gpu_memory_utilization"], remedied.utilization, remedied.utilization_wish) == (0.3, 0.3, 0.3)
    assert (plain.utilization, plain.utilization_cap, remedied.utilization_cap) == (0.42, 0.42, 0.42)
    assert remedied.capped_by == plain.capped_by
