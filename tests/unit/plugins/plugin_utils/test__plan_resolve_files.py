# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service, resolved: what the container sees of the owner, and which image follows from the model."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.owner_files import OwnerFile
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve

from support.services import (
    CATALOG,
    GIB,
    resolved,
    spark,
    values,
)

HEAVY = {"id": "a/b", "weights_bytes": 10**13, "layers": 1, "kv_heads": 1, "head_dim": 64, "native_context": 40960}


# --- what the container sees of the owner -----------------------------------------------------------------------------

MINE = "/srv/models/My-7B"


def test_a_model_in_a_folder_is_served_from_there_under_its_name() -> None:
    found = resolved(spark(), vllm_model=MINE)
    assert found.argv[:3] == ["vllm", "serve", "/models/My-7B"]
    assert found.mounts == [
        {"source": MINE, "target": "/models/My-7B", "read_only": True, "origin": "vllm_model"},
    ]
    assert (found.container, found.served_name, found.facts["model"]) == ("vllm-my-7b", "My-7B", "My-7B")
    assert found.environment["HF_HUB_OFFLINE"] == "1"
    assert any(line.endswith("vllm_model (the name of its folder)") for line in found.lines)


@pytest.mark.parametrize("variables", [{}, {"vllm_download": False}, {"vllm_hf_offline": True}])
def test_a_model_in_a_folder_is_never_asked_of_the_hub(variables: dict[str, t.Any]) -> None:
    found = resolved(spark(), vllm_model=MINE, **variables)
    assert (found.environment["HF_HUB_OFFLINE"], found.hf_cache_read_only) == ("1", True)
    other = resolved(spark(), vllm_model=MINE, vllm_extra_args={"tokenizer": "a/b"}, vllm_download=False)
    assert "HF_HUB_OFFLINE" not in other.environment


@pytest.mark.parametrize(("name", "served"), [("mine", "mine"), (None, "/models/My-7B")])
def test_the_owner_may_give_it_another_name(name: str | None, served: str) -> None:
    assert resolved(vllm_model=MINE, vllm_extra_args={"served_model_name": name}).served_name == served


def test_a_model_in_a_folder_of_the_cache_needs_no_mount() -> None:
    """The container has the cache, and may write it: a mount from there could be led anywhere."""
    found = resolved(spark(), vllm_model="/opt/hf/my/model", hf_cache_path="/opt/hf/")
    assert (found.argv[2], found.mounts) == ("/root/.cache/huggingface/my/model", [])
    assert found.served_name == "model"


def test_an_entry_of_the_inventory_may_be_a_folder() -> None:
    entry = {**HEAVY, "id": f"{MINE}/", "weights_bytes": GIB, "args": {"dtype": "half"}}
    for wanted in ("mine", MINE, f"{MINE}/"):
        found = resolved(spark(), vllm_model=wanted, vllm_models={"mine": entry})
        assert found.argv[2] == "/models/My-7B"
        assert (found.args["dtype"], found.served_name, found.container) == ("half", "My-7B", "vllm-mine")
        assert found.plan["fits"]


def test_a_model_in_a_folder_is_planned_by_its_own_files() -> None:
    info = {**FILES, "id": MINE}
    found = resolved(spark(), vllm_model=MINE, model_info=info)
    assert found.plan["context"] == 32768
    old = resolved(
        spark(), vllm_model=MINE, model_info=info, vllm_image="nvcr.io/nvidia/vllm:25.09-py3", vllm_max_model_len=4096
    )
    assert "cannot run my-7b, its vLLM 0.10.1.1 is older than 0.10.2" in old.image_refusal


def test_files_and_mounts() -> None:
    files = [
        OwnerFile(0, "/home/me/a.jinja", "/opt/files/a.jinja", 3, "a1" * 32),
        OwnerFile(1, "", "/opt/files/b.py", 5, "b2" * 32),
        OwnerFile(2, "/home/me/copy", "/opt/files/copy", 3, "a1" * 32),
    ]
    wanted = [{"source": "/srv/data/", "target": "/data/"}, {"source": "/srv/out", "target": "/o", "read_only": False}]
    found = resolve(values(vllm_mounts=wanted), CATALOG, files=files)
    assert [tuple(mount.values()) for mount in found.mounts] == [
        ("files/a1a1a1a1a1a1a1a1", "/opt/files/a.jinja", True, "vllm_files[0]"),
        ("files/b2b2b2b2b2b2b2b2", "/opt/files/b.py", True, "vllm_files[1]"),
        ("files/a1a1a1a1a1a1a1a1", "/opt/files/copy", True, "vllm_files[2]"),
        ("/srv/data", "/data", True, "vllm_mounts[0]"),
        ("/srv/out", "/o", False, "vllm_mounts[1]"),
    ]
    assert [file["name"] for file in found.files] == ["files/a1a1a1a1a1a1a1a1", "files/b2b2b2b2b2b2b2b2"]


# --- the image follows the model -------------------------------------------------------------------------------------


NEWEST = "nvcr.io/nvidia/vllm:26.09-py3"
FILES = {
    "id": "some/model",
    "architectures": ["Qwen3NextForCausalLM"],
    "weights_bytes": GIB,
    "layers": 2,
    "kv_heads": 2,
    "head_dim": 64,
    "native_context": 4096,
    "config_context": 4096,
}


@pytest.mark.parametrize(
    ("variables", "image"),
    [
        pytest.param({}, "nvcr.io/nvidia/vllm:25.09-py3", id="the guide's for the guide's model"),
        pytest.param({"vllm_model": "gpt-oss-20b"}, "nvcr.io/nvidia/vllm:26.04-py3", id="the one of the entry"),
        pytest.param({"vllm_model": "qwen3-vl-8b-fp8"}, NEWEST, id="an entry without one"),
        pytest.param({"vllm_model": "some/model"}, NEWEST, id="a model without an entry"),
        pytest.param({"vllm_image": "nvcr.io/nvidia/vllm:26.04-py3"}, "nvcr.io/nvidia/vllm:26.04-py3", id="vllm_image"),
        pytest.param(
            {"vllm_model": "some/model", "vllm_images": {"a/b:1": {"vllm": "0.99", "status": "good"}}},
            "a/b:1",
            id="the owner's own",
        ),
        pytest.param(
            {
                "vllm_model": "some/model",
                "vllm_images": {"a/b:1": {"vllm": "0.99", "status": "good", "cannot_run": {"some/*": "no"}}},
            },
            NEWEST,
            id="not one that cannot run it",
        ),
    ],
)
def test_without_vllm_image_the_image_follows_the_model(variables: dict[str, t.Any], image: str) -> None:
    found = resolved(spark(), **variables)
    assert (found.image["ref"], found.image_ref, found.image_refusal) == (image, image, "")


def test_what_the_files_of_a_model_say_counts_for_its_image() -> None:
    """Its name says nothing, its config.json names an architecture that the chosen image has not."""
    variables = {"vllm_model": "some/model", "vllm_image": "nvcr.io/nvidia/vllm:25.09-py3"}
    assert resolved(spark(), **variables).image_refusal == ""
    assert resolved(spark(), model_info=FILES, **variables).image_refusal == (
        'vllm_image: "nvcr.io/nvidia/vllm:25.09-py3" cannot run model, its vLLM 0.10.1.1 is older than 0.10.2, the'
        " first that knows it; use nvcr.io/nvidia/vllm:25.10-py3, or set vllm_image_allow: [cannot_run]"
    )
    allowed = {**variables, "vllm_image_allow": ["cannot_run"]}
    assert resolved(spark(), model_info=FILES, **allowed).image_refusal == ""


@pytest.mark.parametrize(
    ("variables", "read_only"),
    [
        ({}, True),
        ({"vllm_extra_env": {"HF_HUB_OFFLINE": "0"}}, False),
        ({"vllm_download": False}, False),
        ({"vllm_download": False, "vllm_extra_env": {"HF_HUB_OFFLINE": "1"}}, False),
        ({"vllm_hf_offline": True, "vllm_download": False}, True),
    ],
)
def test_the_cache_is_read_only_where_nothing_is_written(variables: dict[str, t.Any], read_only: bool) -> None:
    """The code of a model (trust_remote_code) needs a folder of its own then."""
    assert resolved(spark(), **variables).hf_cache_read_only is read_only


def test_the_image_does_not_hang_on_what_is_read_later() -> None:
    """The release is named after it before the files of the model are read."""
    newer = {**FILES, "architectures": ["MllamaForConditionalGeneration"]}  # gone from the newest vLLM
    found = resolved(spark(), vllm_model="some/model", model_info=newer)
    assert found.image["ref"] == NEWEST
    assert "cannot run model" in found.image_refusal


OWNERS = "/home/nvidia/.cache/huggingface"


@pytest.mark.parametrize(
    ("cache", "folder"),
    [
        ({"path": OWNERS, "folder": f"{OWNERS}/hub"}, f"{OWNERS}/hub"),
        ({"path": OWNERS, "folder": OWNERS}, OWNERS),
        ({"path": "/opt/hf", "folder": "/opt/hf/hub"}, OWNERS),  # a look at another cache says nothing of this one
        (None, OWNERS),
    ],
)
def test_the_models_of_a_cache_are_where_the_host_has_them(cache: dict[str, str] | None, folder: str) -> None:
    found = resolved({**spark(), "cache": cache}, hf_cache_path=OWNERS)
    assert (found.hf_cache, found.container_cache) == (folder, "/root/.cache/huggingface")
    assert found.environment["HF_HUB_CACHE"] == "/root/.cache/huggingface"


def test_a_model_beside_the_hub_of_its_owner_is_mounted_by_itself() -> None:
    """The container sees hub/ alone."""
    host = {**spark(), "cache": {"path": OWNERS, "folder": f"{OWNERS}/hub"}}
    beside = resolved(host, hf_cache_path=OWNERS, vllm_model=f"{OWNERS}/mine")
    assert [mount["source"] for mount in beside.mounts] == [f"{OWNERS}/mine"]
    below = resolved(host, hf_cache_path=OWNERS, vllm_model=f"{OWNERS}/hub/mine")
    assert (below.mounts, below.arguments[0]) == ([], "/root/.cache/huggingface/mine")


def test_another_user_has_a_home_and_a_cache_of_its_own() -> None:
    """torch asks for the name of the user, and does without an entry in /etc/passwd if the environment has one."""
    found = resolved(spark(), vllm_container_user="1000:100")
    assert (found.user, found.compile_cache) == ("1000:100", "/opt/vllm/caches/1000")
    assert {name: found.environment[name] for name in ("HOME", "USER", "LOGNAME")} == {
        "HOME": "/root",
        "USER": "vllm",
        "LOGNAME": "vllm",
    }
    assert resolved(spark()).compile_cache == "/opt/vllm/cache"
