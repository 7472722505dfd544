# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release as a plain folder: what stays, what goes, and that no secret is in it."""

from __future__ import annotations

import json
import typing as t

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.release_export import ExportError, export

HOME = "/opt/vllm"
FOLDER = f"{HOME}/releases/0123456789ab"
DIGEST = "sha256:" + "f" * 64
FACTS = {"release": "0123456789ab", "model": "Qwen/Qwen3-8B-FP8", "profile": "throughput"}
IMAGE = {"digests": [f"else.where/vllm@{DIGEST}", f"127.0.0.1:5000/nvidia/vllm@{DIGEST}"]}
COMMITS = {"Qwen/Qwen3-8B-FP8": {"main": "c0ffee", "v2": "decade"}}
COMPOSE: dict[str, t.Any] = {
    "name": "dgxspark-vllm",
    "services": {
        "vllm-x": {
            "image": "127.0.0.1:5000/nvidia/vllm:25.09-py3",
            "container_name": "vllm-x",
            "restart": "no",
            "environment": {"VLLM_API_KEY": "${VLLM_API_KEY}", "HF_HUB_OFFLINE": "1", "PRICE": "5$$"},
            "command": ["vllm", "serve", "Qwen/Qwen3-8B-FP8", "--seed", "1", "--override-x", '{"a":1}'],
            "volumes": [
                f"{HOME}/cache:/root/.cache",
                "/opt/hf:/root/.cache/huggingface:ro",
                {"type": "bind", "source": f"{FOLDER}/dgxspark_require_key.py", "target": "/x.py", "read_only": True},
                {"type": "bind", "source": "/srv/adapters", "target": "/adapters", "read_only": True},
            ],
            "labels": {"dgxspark.vllm.service": "vllm", "dgxspark.vllm.release": "0123456789ab"},
        }
    },
}


def exported(**service: t.Any) -> tuple[dict[str, str], dict[str, t.Any]]:
    """The texts, and the service of the Compose file."""
    compose = {**COMPOSE, "services": {"vllm-x": {**COMPOSE["services"]["vllm-x"], **service}}}
    made = export(yaml.safe_dump(compose), FACTS, IMAGE, HOME, COMMITS)
    assert made.files == ["dgxspark_require_key.py"]
    file = yaml.safe_load(made.texts["compose.yaml"])
    assert file["name"] == "vllm-x", "the project of the collection is its own"
    return made.texts, file["services"]["vllm-x"]


def test_nothing_of_it_is_taken_for_the_collections_own() -> None:
    _texts, service = exported()
    assert "labels" not in service
    assert "container_name" not in service, "the service that it was exported from may have it"
    assert exported(labels={"dgxspark.vllm.service": "vllm", "mine": "1"})[1]["labels"] == {"mine": "1"}


def test_it_is_started_from_its_folder() -> None:
    _texts, service = exported()
    assert service["image"] == f"127.0.0.1:5000/nvidia/vllm@{DIGEST}"
    assert service["restart"] == "on-failure:3"
    assert service["command"] == COMPOSE["services"]["vllm-x"]["command"]
    assert service["environment"]["PRICE"] == "5$$"
    strings = [volume for volume in service["volumes"] if isinstance(volume, str)]
    assert strings == ["./cache:/root/.cache", "/opt/hf:/root/.cache/huggingface:ro"]
    sources = [volume["source"] for volume in service["volumes"] if not isinstance(volume, str)]
    assert sources == ["./dgxspark_require_key.py", "/srv/adapters"]


def test_compile_caches_of_another_user_are_beside_the_file_too() -> None:
    volumes = [f"{HOME}/caches/1000:/root/.cache", *COMPOSE["services"]["vllm-x"]["volumes"][1:]]
    assert exported(volumes=volumes)[1]["volumes"][0] == "./caches/1000:/root/.cache"


def test_secrets_are_names() -> None:
    environment = {"VLLM_API_KEY": "${VLLM_API_KEY}", "MY_TOKEN": "abc123", "https_proxy": "http://me:hidden@proxy:1"}
    texts, service = exported(environment=environment)
    assert service["environment"] == {
        "VLLM_API_KEY": "${VLLM_API_KEY:?write it to .env}",
        "MY_TOKEN": "${MY_TOKEN:-}",
        "https_proxy": "${https_proxy:-}",
    }
    assert texts["env.example"] == "MY_TOKEN=\nVLLM_API_KEY=\nhttps_proxy=\n"
    assert "abc123" not in str(texts) and "hidden" not in str(texts)


def test_without_secrets_there_is_no_example_of_them() -> None:
    texts, _service = exported(environment={"HF_HUB_OFFLINE": "1"})
    assert "env.example" not in texts
    assert ".env" not in texts["README.md"]


def test_the_record() -> None:
    record = json.loads(exported()[0]["release.json"])
    assert (record["model"], record["revision"], record["digest"]) == ("Qwen/Qwen3-8B-FP8", "c0ffee", DIGEST)
    assert record["argv"][:3] == ["vllm", "serve", "Qwen/Qwen3-8B-FP8"]
    assert record["environment"] == ["HF_HUB_OFFLINE", "PRICE", "VLLM_API_KEY"]


@pytest.mark.parametrize(
    ("words", "revision"),
    [
        (["Qwen/Qwen3-8B-FP8", "--revision", "v2"], "decade"),
        (["Qwen/Qwen3-8B-FP8", "--revision", "abcdef"], "abcdef"),
        (["/models/mine"], None),
    ],
)
def test_the_commit_of_the_model(words: list[str], revision: str | None) -> None:
    texts, _service = exported(command=["vllm", "serve", *words])
    assert json.loads(texts["release.json"])["revision"] == revision


def test_an_image_of_no_registry_keeps_its_name() -> None:
    texts, service = exported(image="mine:1")
    assert service["image"] == "mine:1"
    assert json.loads(texts["release.json"])["digest"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"command": ["vllm", "serve", "x", "--api-key", "abc"]},
            "--api-key on its command line may be",
        ),
        ({"volumes": [{"source": f"{FOLDER}/../../../etc/shadow"}]}, "which is no file of a release"),
    ],
)
def test_what_cannot_be_exported(change: dict[str, t.Any], said: str) -> None:
    with pytest.raises(ExportError, match=said):
        exported(**change)


def test_no_release() -> None:
    with pytest.raises(ExportError, match="not that of a release"):
        export("a: [", FACTS, IMAGE, HOME, {})
