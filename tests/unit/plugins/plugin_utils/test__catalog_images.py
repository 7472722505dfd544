# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image matrix: what a reference means, and which image is nearest."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog, CatalogError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.images import (
    GUIDES,
    find,
    mirrored,
    moves,
    nearest_good,
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
        ("some-org/other:v0.27.1", {"vllm": None}),  # a version of its own
        ("some-org/my-vllm-openai:v0.27.1", {"vllm": None}),
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
        ("nvcr.io/nvidia/vllm:27.01-py3", {}, "nvcr.io/nvidia/vllm:26.07-py3"),
        ("nvcr.io/nvidia/vllm:25.09-py3", {"id": "openai/gpt-oss-20b"}, "nvcr.io/nvidia/vllm:25.10-py3"),
        ("nvcr.io/nvidia/vllm:25.09-py3", {"id": "a/b", "min_vllm": "0.18"}, "nvcr.io/nvidia/vllm:26.04-py3"),
        ("vllm/vllm-openai:v0.10.1", {}, "vllm/vllm-openai:v0.20.0-cu130"),
        ("vllm/vllm-openai:cu130-nightly", {}, GUIDES),
        ("vllm/vllm-openai:v9", {}, "vllm/vllm-openai:v0.26.0-aarch64-cu129-ubuntu2404"),
        ("vllm/vllm-openai", {"id": "openai/gpt-oss-20b"}, "vllm/vllm-openai:v0.20.0-cu130"),
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
