# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookups, with the variables that a play would give them."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.dgxspark.vllm.plugins.lookup import image, model, profile

MINE = {"id": "a/b", "weights_bytes": 10, "layers": 1, "kv_heads": 1, "head_dim": 8, "native_context": 4096}
NGC = "nvcr.io/nvidia/vllm:25.09-py3"


def look(kind: str, *terms: str, **variables: t.Any) -> list[dict[str, t.Any]]:
    templar = Templar(loader=DataLoader(), variables=variables)
    plugin = {"model": model, "image": image, "profile": profile}[kind].LookupModule(
        loader=DataLoader(), templar=templar
    )
    return plugin.run(list(terms), variables=variables)


def test_models_in_the_order_of_the_terms() -> None:
    found = look("model", "llama31-8b-fp8", "Qwen/Qwen3-8B-FP8")
    assert [entry["name"] for entry in found] == ["llama31-8b-fp8", "qwen3-8b-fp8"]


def test_a_template_in_the_users_models_is_filled_in() -> None:
    own = {"mine": {**MINE, "layers": trust_as_template("{{ depth }}")}}
    (found,) = look("model", "mine", vllm_models=own, depth=7)
    assert found["layers"] == 7


def test_a_template_for_all_of_the_users_models() -> None:
    (found,) = look("model", "mine", vllm_models=trust_as_template("{{ catalog }}"), catalog={"mine": MINE})
    assert found["id"] == "a/b"


def test_images() -> None:
    (found,) = look("image", NGC)
    assert found["command_prefix"] == ["vllm", "serve"]
    (found,) = look("image", "x/y:1", vllm_images={"x/y:1": {"vllm": "0.32.0"}})
    assert found["vllm"] == "0.32.0"


def test_what_a_models_own_files_say() -> None:
    plugin = model.LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader(), variables={}))
    facts = {"id": "a/b", "weights_bytes": 10, "layers": 3}
    (found,) = plugin.run(["a/b"], variables={}, facts=facts)
    assert (found["name"], found["described"], found["layers"], found["kv_heads"]) == ("b", False, 3, None)
    # neither another model's, nor against an entry
    (other,) = plugin.run(["a/c"], variables={}, facts=facts)
    assert other["layers"] is None
    (ours,) = plugin.run(["qwen3-8b-fp8"], variables={}, facts={"id": "Qwen/Qwen3-8B-FP8", "layers": 3})
    assert ours["layers"] == 36


def test_profiles() -> None:
    own = {"latency": {"args": {"max_num_seqs": 4}}, "mine": {"args": {"max_num_seqs": 1}}}
    latency, mine = look("profile", "latency", "mine", vllm_profiles=own)
    assert (latency["args"]["max_num_seqs"], latency["args"]["max_model_len"]) == (4, 16384)
    assert mine == {"args": {"max_num_seqs": 1}}


def test_all_models() -> None:
    names = [entry["name"] for entry in look("model", "*", vllm_models={"mine": MINE})]
    assert "qwen3-8b-fp8" in names
    assert names[-1] == "mine"


def test_a_model_with_an_image() -> None:
    variables = {
        "vllm_models": {"mine": {**MINE, "revision": "v1", "per_image": [{"image": "x/*", "args": {"dtype": "half"}}]}},
        "vllm_images": {"x/y:1": {"environment": {"A": trust_as_template("{{ one }}")}}},
        "one": "1",
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    plugin = model.LookupModule(loader=DataLoader(), templar=templar)
    (found,) = plugin.run(["mine"], variables=variables, image="x/y:1")
    assert found["args"] == {"revision": "v1"}
    assert (found["image_args"], found["image_environment"]) == ({"dtype": "half"}, {"A": "1"})
    (found,) = plugin.run(["mine"], variables=variables)
    assert "image_args" not in found
    with pytest.raises(AnsibleError, match="model: img is not an option"):
        plugin.run(["mine"], variables=variables, img="x/y:1")


def test_an_unknown_image_if_it_is_allowed() -> None:
    (found,) = look("image", "x/y:1", vllm_image_allow=["unknown"])
    assert found["vllm"] is None


@pytest.mark.parametrize(
    ("kind", "term", "variables", "line"),
    [
        ("model", "nothing", {}, 'model: "nothing" is not in the catalog; known: '),
        (
            "model",
            "mine",
            {"vllm_models": {"mine": {}}},
            "model: vllm_models.mine.id: is missing; use a Hugging Face id",
        ),
        ("model", "mine", {"vllm_models": ["mine"]}, "vllm_models: is not allowed; use a mapping of models by name"),
        ("profile", "fast", {}, 'profile: "fast" is no profile; known: throughput, '),
        ("profile", "fast", {"vllm_profiles": {"fast": {"x": 1}}}, "vllm_profiles.fast.x: unknown field; "),
        ("profile", "fast", {"vllm_profiles": "fast"}, "vllm_profiles: is not allowed; use a mapping of profiles"),
        ("image", "nothing:1", {}, 'image: "nothing:1" is not in the image matrix; '),
        ("image", "a:1", {"vllm_images": {"a:1": {"x": 1}}}, "image: vllm_images[a:1].x: unknown field; "),
        ("image", "a:1", {"vllm_images": "a:1"}, "vllm_images: is not allowed; use a mapping of images by reference"),
    ],
)
def test_refused_with_one_line(kind: str, term: str, variables: dict[str, t.Any], line: str) -> None:
    with pytest.raises(AnsibleError) as refused:
        look(kind, term, **variables)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
