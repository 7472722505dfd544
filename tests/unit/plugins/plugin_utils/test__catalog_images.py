# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image matrix: what a reference means, and which image is nearest."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog, CatalogError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.images import (
    GUIDES,
    Architectures,
    can_run,
    find,
    met,
    mirrored,
    moves,
    nearest_good,
    other_server,
    told_by_tag,
    unable,
)

DIGEST = "sha256:" + "a" * 64
IMAGES = Catalog().images()


@pytest.mark.parametrize(
    ("ref", "moving"),
    [
        ("a/b:1", False),
        ("a/b", True),
        ("a/b:latest", True),
        ("a/b:cu130-nightly", True),
        ("a/b:nightly-1", False),
        ("a/b:nightly-aarch64", True),
        ("a/b:latest-aarch64", True),
        ("a/b:latest-cu130", True),
        ("a/b:cu130-nightly-aarch64", True),
        ("a/b:nightly-2026-01-31", False),
        ("a/b:nightly-abcd0123", False),
        ("a/b:nightly-e1dd706cd14b7a49eb6e8ff3bd3c5a8ab3e5d4b7", False),
        ("a/b:cu130-nightly-abcd0123-aarch64", False),
        ("a/b:v0.26.0-aarch64", False),
        ("a/b:fortnightly", False),
        ("a/b:latest@sha256:00", False),
        ("a/b@sha256:00", False),
    ],
)
def test_moves(ref: str, moving: bool) -> None:
    assert moves(ref) is moving


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        ("vllm/vllm-openai:v0.27.1-aarch64", {"vllm": "0.27.1", "ray": False, "multi_node": True}),
        ("docker.io/vllm/vllm-openai:0.28.0", {"vllm": "0.28.0", "ray": False, "multi_node": True}),
        ("harbor.example.org/hub/vllm-openai:v0.31.0-aarch64-cu129-ubuntu2404", {"vllm": "0.31.0", "cuda": "12.9"}),
        ("vllm/vllm-openai:v0.10.2", {"vllm": "0.10.2", "multi_node": False}),
        ("vllm/vllm-openai:v0.33.0rc2-cu130", {"vllm": "0.33.0rc2", "cuda": "13.0"}),
        ("vllm/vllm-openai:nightly-abcd0123", {"vllm": None}),
        ("vllm/vllm-openai:latest", {"vllm": None}),
        ("vllm/vllm-openai:qwen38", {"vllm": None}),
        ("nvcr.io/nvidia/vllm:26.05.post2-py3", {"vllm": "0.20.1", "ray": False}),
        ("nvcr.io/nvidia/vllm:27.01-py3", {"vllm": None, "ray": False}),
        ("scitrera/dgx-spark-vllm:0.15.0-t5", {"vllm": "0.15.0", "ray": True, "multi_node": True, "nccl": None}),
        ("scitrera/dgx-spark-vllm:latest", {"vllm": None, "ray": None}),
        ("some-org/other:v0.27.1", {"vllm": None}),  # a version of its own
        ("some-org/my-vllm-openai:v0.27.1", {"vllm": None}),
        ("lmcache/vllm-openai:v0.4.2", {"vllm": None}),  # whose tags number another program
        ("docker.io/some-org/vllm-openai:v0.27.1", {"vllm": None}),
        ("registry.example.org/vllm-openai:v0.27.1", {"vllm": "0.27.1"}),
        ("ghcr.io/timothystewart6/vllm-gb10:v0.30.0-gb10.2", {"vllm": "0.30.0", "ray": None, "multi_node": True}),
        ("ghcr.io/aeon-7/aeon-vllm-ultimate:2026-08-16-v0.27.1", {"vllm": "0.27.1", "multi_node": True}),
        ("ghcr.io/aeon-7/aeon-vllm-ultimate:2026-08-16", {"vllm": None}),
    ],
)
def test_what_a_tag_says(ref: str, told: dict[str, t.Any]) -> None:
    found = told_by_tag(ref, IMAGES)
    assert {name: found.get(name) for name in told} == told


def test_an_unknown_image_is_planned_with_the_version_of_its_tag() -> None:
    image = Catalog().image("vllm/vllm-openai:v0.27.1-aarch64", {}, unknown_too=True)
    assert (image["vllm"], image["status"], image["command_prefix"]) == ("0.27.1", "unknown", [])
    own = {"vllm/vllm-openai:v0.27.1-aarch64": {"vllm": "0.27.0"}}  # the owner knows better
    assert Catalog().image("vllm/vllm-openai:v0.27.1-aarch64", own)["vllm"] == "0.27.0"


@pytest.mark.parametrize(
    ("ref", "key"),
    [
        ("a/b:1", "a/b:1"),
        ("a/b:1@sha256:00", "a/b:1"),
        (f"a/b@{DIGEST}", "a/b:2"),
        (f"a/c@{DIGEST}", None),  # another repository
        ("a/b@sha256:00", None),
        ("a/b:3", None),
    ],
)
def test_find(ref: str, key: str | None) -> None:
    assert find(ref, {"a/b:1": {}, "a/b:2": {"digest": DIGEST}, "x/y:1": {"digest": DIGEST}, "bad": None}) == key


def test_a_digest_alone_has_the_versions_of_its_entry() -> None:
    own = {"a/b:2": {"digest": DIGEST, "vllm": "0.32.0"}}
    image = Catalog().image(f"a/b@{DIGEST}", own)
    assert (image["vllm"], image["path"]) == ("0.32.0", f"a/b@{DIGEST}")


def test_a_digest_that_is_not_the_known_one() -> None:
    with pytest.raises(CatalogError, match="has another digest than a/b:2; use a/b:2@sha256:aaa"):
        Catalog().image("a/b:2@sha256:" + "b" * 64, {"a/b:2": {"digest": DIGEST}})


def test_an_unknown_image_on_request() -> None:
    image = Catalog().image("a/b:9", unknown_too=True)
    assert (image["vllm"], image["status"], image["command_prefix"]) == (None, "unknown", ["vllm", "serve"])


def test_mirrored() -> None:
    assert mirrored("10.0.0.5:5000/nvidia/vllm:25.09-py3", IMAGES) == (GUIDES, "10.0.0.5:5000")
    assert mirrored("10.0.0.5/a/b/nvidia/vllm:25.09-py3", IMAGES) == (GUIDES, "10.0.0.5/a/b")
    assert mirrored("10.0.0.5/mynvidia/vllm:25.09-py3", IMAGES) is None
    assert mirrored("10.0.0.5:5000/nvidia/vllm:25.08-py3", IMAGES) is None


@pytest.mark.parametrize(
    ("ref", "model", "near"),
    [
        ("nvcr.io/nvidia/vllm:25.9-py3", {}, GUIDES),
        ("nvcr.io/nvidia/vllm:24.12-py3", {}, GUIDES),
        ("nvcr.io/nvidia/vllm:26.06-py3", {}, "nvcr.io/nvidia/vllm:26.07-py3"),
        ("nvcr.io/nvidia/vllm:27.01-py3", {}, "nvcr.io/nvidia/vllm:26.09-py3"),
        ("nvcr.io/nvidia/vllm:25.09-py3", {"id": "openai/gpt-oss-20b"}, "nvcr.io/nvidia/vllm:25.10-py3"),
        ("nvcr.io/nvidia/vllm:25.09-py3", {"id": "a/b", "min_vllm": "0.18"}, "nvcr.io/nvidia/vllm:26.04-py3"),
        ("vllm/vllm-openai:v0.10.1", {}, "vllm/vllm-openai:v0.20.0-cu130"),
        ("vllm/vllm-openai:cu130-nightly", {}, "vllm/vllm-openai:v0.28.0"),  # a tag without a number is of today
        ("vllm/vllm-openai:v9", {}, "vllm/vllm-openai:v0.28.0"),
        ("vllm/vllm-openai:v0.27.1-aarch64", {}, "vllm/vllm-openai:v0.28.0"),
        ("vllm/vllm-openai:v0.21.0", {}, "vllm/vllm-openai:v0.24.0-ubuntu2404"),
        ("vllm/vllm-openai", {"id": "openai/gpt-oss-20b"}, "vllm/vllm-openai:v0.28.0"),
        ("eugr/spark-vllm:nightly", {}, "eugr/spark-vllm:nightly-20260704"),
        ("someone/else:1", {}, GUIDES),
        ("someone/else:1", {"id": "openai/gpt-oss-20b"}, "nvcr.io/nvidia/vllm:25.10-py3"),
    ],
)
def test_nearest_good(ref: str, model: dict[str, t.Any], near: str) -> None:
    assert nearest_good(ref, IMAGES, model or None) == near


def test_no_good_one_is_near() -> None:
    assert nearest_good("a/b:1", {"a/b:1": {"status": "avoid"}, "a/b:2": None}) is None
    assert nearest_good(GUIDES, IMAGES, {"id": "a/b", "min_vllm": "99"}) is None


@pytest.mark.parametrize(
    ("model", "image", "reason"),
    [
        ({"id": "a/b"}, {}, None),
        ({"id": "a/b"}, {"cannot_run": {"a/*": "too new"}}, "too new"),
        ({"id": "a/b"}, {"cannot_run": {"a/*": None}}, None),  # taken back by the user
        ({"id": "a/b", "min_vllm": "0.11.0"}, {"vllm": "0.11"}, None),  # the same version
        ({"id": "a/b", "min_vllm": "0.11.1"}, {"vllm": "0.11"}, "older"),
        ({"id": "a/b", "min_vllm": "0.32.0"}, {"vllm": "0.32.0rc1"}, "older"),
        ({"id": "a/b", "min_vllm": "0.11"}, {"vllm": "0.11.0"}, None),
        ({"id": "a/b", "min_vllm": "0.9"}, {"vllm": "0.10.1.1"}, None),
        ({"id": "a/b", "min_vllm": "0.11.0"}, {}, None),
    ],
)
def test_unable(model: dict[str, t.Any], image: dict[str, t.Any], reason: str | None) -> None:
    found = unable(model, image)
    assert found is None if reason is None else reason in str(found)


KNOWN = Architectures(
    {
        "versions": ["0.10.1.1", "0.19.0", "0.20.0", "0.21.0"],
        "architectures": {
            "Old": {"until": "0.19.0"},
            "Always": {},
            "New": {"since": "0.21.0"},
            "Short": {"since": "0.19.0", "until": "0.20.0"},
        },
    }
)


@pytest.mark.parametrize(
    ("architecture", "version", "knows"),
    [
        ("Always", "0.9", True),
        ("Always", "0.30", True),
        ("Old", "0.10.1.1", True),
        ("Old", "0.19.0", True),
        ("Old", "0.19.1", None),  # not recorded: it went in it, or in 0.20.0
        ("Old", "0.20.0", False),
        ("New", "0.20.0", False),
        ("New", "0.20.1", False),  # a patch release brings no architecture
        ("New", "0.21.0rc1", None),  # between two recorded ones
        ("New", "0.21.0", True),
        ("New", "0.10.1.1+381074ae.nv25.09", False),
        ("Short", "0.18", None),
        ("Short", "0.10.1.1", False),
        ("Short", "0.20.0", True),
        ("Short", "0.33.0", False),
        ("Unheard", "0.20.0", None),
    ],
)
def test_whether_a_version_knows_an_architecture(architecture: str, version: str, knows: bool | None) -> None:
    assert KNOWN.knows(architecture, version) is knows


@pytest.mark.parametrize(
    ("image", "architectures", "reason"),
    [
        ({"vllm": "0.20.1"}, ["New"], "its vLLM 0.20.1 has no New, which came with 0.21"),
        ({"vllm": "0.21.0"}, ["New"], None),
        ({"vllm": "0.21.0"}, ["Old"], "its vLLM 0.21.0 has no Old any more"),
        ({"vllm": "0.20.1"}, ["New", "Always"], None),  # vLLM takes the first that it has
        ({"vllm": "0.10.1.1"}, ["New", "Short"], "its vLLM 0.10.1.1 has no New or Short, which came with 0.19"),
        ({"vllm": "0.20.1"}, ["Unheard"], None),  # perhaps by transformers
        ({"vllm": "0.20.1"}, [], None),
        ({}, ["New"], None),
        ({"vllm": None}, ["New"], None),
        # what the image itself was asked counts
        ({"vllm": "0.20.1", "architectures": ["New"]}, ["New"], None),
        ({"vllm": "0.21.0", "architectures": ["Always"]}, ["New"], "its own registry has no New"),
        ({"architectures": ["Always"]}, ["New"], "its own registry has no New"),
        ({"vllm": "0.20.1", "architectures": []}, ["Always"], None),
    ],
)
def test_can_run(image: dict[str, t.Any], architectures: list[str], reason: str | None) -> None:
    assert can_run(image, architectures, KNOWN) == reason


@pytest.mark.parametrize(
    ("ref", "architecture", "first"),
    [
        (GUIDES, "Qwen3ForCausalLM", None),
        (GUIDES, "Qwen3NextForCausalLM", "0.10.2"),
        (GUIDES, "Qwen3_5MoeForConditionalGeneration", "0.17"),
        ("nvcr.io/nvidia/vllm:26.02-py3", "Qwen3_5MoeForConditionalGeneration", "0.17"),
        ("nvcr.io/nvidia/vllm:26.03-py3", "Qwen3_5MoeForConditionalGeneration", None),
        ("nvcr.io/nvidia/vllm:26.03-py3", "Gemma4ForConditionalGeneration", "0.19"),
        ("nvcr.io/nvidia/vllm:26.04-py3", "Gemma4ForConditionalGeneration", None),
        ("nvcr.io/nvidia/vllm:26.08-py3", "Qwen4ExpForConditionalGeneration", "0.29"),
        ("nvcr.io/nvidia/vllm:26.09-py3", "Qwen4ExpForConditionalGeneration", None),
    ],
)
def test_what_the_images_of_the_matrix_run(ref: str, architecture: str, first: str | None) -> None:
    catalog = Catalog()
    reason = can_run(catalog.image(ref), [architecture], catalog.architectures())
    assert reason is None if first is None else str(reason).endswith(f"has no {architecture}, which came with {first}")


@pytest.mark.parametrize(
    ("only_with", "settings", "is_met"),
    [
        ({"a": "*"}, {"a": 2}, True),
        ({"a": "*"}, {"a": None}, False),
        ({"a": "*"}, {}, False),
        ({"a": ["x", "y"]}, {"a": "y"}, True),
        ({"a": ["x", "y"]}, {"a": "z"}, False),
        ({"a": True, "b": "*"}, {"a": "yes", "b": {}}, True),
        ({"a": True, "b": "*"}, {"a": "yes"}, False),
    ],
)
def test_who_meets_a_fault(only_with: dict[str, t.Any], settings: dict[str, t.Any], is_met: bool) -> None:
    assert met({"faults": [{"what": "It fails", "only_with": only_with}]}, settings) == ["It fails."] * is_met


@pytest.mark.parametrize(
    ("ref", "server"),
    [
        ("lmsysorg/sglang:spark", "SGLang"),
        ("nvcr.io/nvidia/sglang:26.09-py3", "SGLang"),
        ("nvcr.io/nvidia/tensorrt-llm/release:1.2.0rc6", "TensorRT-LLM"),
        ("nvcr.io/nim/qwen/qwen3-32b-dgx-spark:1.1.0-variant", "NVIDIA NIM"),
        ("ghcr.io/ggml-org/llama.cpp:server-cuda", "llama.cpp"),
        ("vllm/vllm-omni:v0.24.0", "vLLM-Omni"),
        ("vllm/vllm-openai:v0.28.0", None),
        ("nvcr.io/nvidia/vllm:26.09-py3", None),
        ("nimbus/vllm:1", None),
    ],
)
def test_an_image_of_another_server(ref: str, server: str | None) -> None:
    assert other_server(ref) == server


@pytest.mark.parametrize(
    ("quantization", "image", "reason"),
    [
        ("exl3", {"vllm": "0.29.0"}, "its vLLM 0.29.0 reads no weights in the format exl3"),
        (
            "bitsandbytes",
            {"vllm": "0.28.0"},
            "its vLLM 0.28.0 reads bitsandbytes with vllm-bnb-plugin only, which is no part of it",
        ),
        ("bitsandbytes", {"vllm": "0.27.1"}, None),
        ("bitsandbytes", {}, None),
        ("mlx", {"vllm": "0.29.0", "architectures": ["A"]}, "its vLLM 0.29.0 reads no weights in the format mlx"),
        ("exl3", {}, None),  # a patched build may read it
        ("fp8", {"vllm": "0.29.0"}, None),
        (None, {"vllm": "0.29.0"}, None),
    ],
)
def test_weights_that_no_release_reads(quantization: str | None, image: dict[str, t.Any], reason: str | None) -> None:
    model = {"id": "a/b", "architectures": ["A"], "quantization": quantization}
    assert unable(model, image) == reason
