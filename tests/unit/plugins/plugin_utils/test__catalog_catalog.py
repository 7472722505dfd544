# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog's own rules: merging, finding, refusing."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog, CatalogError, merge
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.fields import (
    MODEL_FIELDS,
    NAMES_OF_CONFIG,
    image_problems,
    model_problems,
    profile_problems,
)
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.images import split_reference
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.text import hint, show
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import complete

from support.paths import ROOT

NGC = "nvcr.io/nvidia/vllm:25.09-py3"
MINE = {"id": "a/b", "weights_bytes": 10, "layers": 1, "kv_heads": 1, "head_dim": 8, "native_context": 4096}


@pytest.mark.parametrize(
    ("below", "above", "result"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {"b": None}}),
        ({}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_merge(below: t.Any, above: t.Any, result: t.Any) -> None:
    assert merge(below, above) == result


@pytest.mark.parametrize(
    ("ref", "parts"),
    [
        (NGC, ("nvcr.io", "nvidia/vllm", "25.09-py3", "")),
        ("vllm/vllm-openai:v0.20.0-cu130", ("", "vllm/vllm-openai", "v0.20.0-cu130", "")),
        ("vllm/vllm-openai", ("", "vllm/vllm-openai", "", "")),
        ("busybox", ("", "busybox", "", "")),
        ("localhost/a:1", ("localhost", "a", "1", "")),
        ("10.0.0.5:5000/a/b", ("10.0.0.5:5000", "a/b", "", "")),
        ("a/b:1@sha256:00", ("", "a/b", "1", "sha256:00")),
        ("reg.example:5000/a@sha256:00", ("reg.example:5000", "a", "", "sha256:00")),
    ],
)
def test_split_reference(ref: str, parts: tuple[str, ...]) -> None:
    assert split_reference(ref) == parts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", '"a\\nb"'),
        (1.5, "1.5"),
        (None, "null"),
        (True, "true"),
        ({"a": 1}, "a mapping"),
        ([1], "a list"),
        ("x" * 200, '"' + "x" * 75 + '..."'),
    ],
)
def test_values_in_messages_are_short_and_on_one_line(value: t.Any, text: str) -> None:
    assert show(value) == text


def test_hint() -> None:
    assert hint("layrs", ["layers", "id"]) == "did you mean layers?"
    assert hint("zzz", ["layers", "id"]) == "known: layers, id"


@pytest.mark.parametrize("asked", ["qwen3-8b-fp8", "Qwen/Qwen3-8B-FP8"])
def test_a_model_by_name_or_id(asked: str) -> None:
    model = Catalog().model(asked)
    assert (model["name"], model["id"], model["weights_bytes"]) == ("qwen3-8b-fp8", "Qwen/Qwen3-8B-FP8", 9_440_000_000)
    assert (model["args"], model["environment"], model["gated"]) == ({}, {}, False)


def test_a_model_of_the_user() -> None:
    model = Catalog().model("mine", {"mine": MINE})
    filled_in = {"described": True, "config_context": 4096, "gated": False, "environment": {}, "args": {}}
    assert model == {"name": "mine", "folder": None, **MINE, **filled_in}


@pytest.mark.parametrize("path", ["/srv/models/My-7B", "/srv/models/My-7B/", "/srv//models/My-7B"])
def test_a_model_in_a_folder_of_the_host(path: str) -> None:
    model = Catalog().model(path)
    assert (model["name"], model["id"], model["folder"]) == ("my-7b", "/srv/models/My-7B", "/srv/models/My-7B")
    assert model["described"] is False
    mine = Catalog().model(path, {"mine": {**MINE, "id": "/srv/models/My-7B/"}})
    assert (mine["name"], mine["folder"], mine["described"]) == ("mine", "/srv/models/My-7B", True)


@pytest.mark.parametrize("path", ["./mine", "../mine", "~/mine", "."])
def test_a_folder_is_written_whole(path: str) -> None:
    with pytest.raises(
        CatalogError, match="is not the whole path of a folder; write all of it, such as /srv/models/mine"
    ):
        Catalog().model(path)


def test_the_name_of_a_folder_says_of_its_model_what_an_id_says() -> None:
    assert Catalog().model("/srv/Qwen3-Next-80B")["architectures"] == ["Qwen3NextForCausalLM"]


def test_an_id_that_nobody_has_described() -> None:
    model = Catalog().model("Some-Org/New.Model_7B")
    known = {name: value for name, value in model.items() if value is not None}
    assert known == {
        "name": "new.model_7b",
        "id": "Some-Org/New.Model_7B",
        "described": False,
        "gated": False,
        "environment": {},
        "args": {},
    }
    with pytest.raises(CatalogError, match="is not in the catalog|is neither the id"):
        Catalog().model("Some-Org/New/Model")


def test_a_revision_is_an_option_of_vllm_and_the_users_own_wins() -> None:
    model = Catalog().model("mine", {"mine": {**MINE, "revision": "v1"}})
    assert model["args"] == {"revision": "v1"}
    model = Catalog().model("mine", {"mine": {**MINE, "revision": "v1", "args": {"revision": "v2"}}})
    assert model["args"] == {"revision": "v2"}


def test_the_roofline() -> None:
    assert Catalog().model("qwen3-8b-fp8")["roofline"] == 33.3
    assert "roofline" not in Catalog().model("mine", {"mine": MINE})


def test_a_change_of_one_of_ours_keeps_the_rest_and_ours() -> None:
    catalog = Catalog()
    changed = catalog.model("qwen3-8b-fp8", {"qwen3-8b-fp8": {"yarn": {"factor": 2.0}, "args": {"max_num_seqs": 1}}})
    assert changed["yarn"] == {"rope_theta": 1000000, "factor": 2.0, "original_max_position_embeddings": 32768}
    changed["yarn"]["factor"] = 9.0
    assert catalog.model("qwen3-8b-fp8")["yarn"]["factor"] == 4.0
    assert catalog.model("qwen3-8b-fp8")["args"] == {}


@pytest.mark.parametrize(
    ("name", "own", "line"),
    [
        ("qwen3-9b", {}, '"qwen3-9b" is not in the catalog; did you mean qwen3-8b-fp8? known: gemma4-26b-a4b-nvfp4, '),
        ("mine", {"mine": {**MINE, "layrs": 1}}, "vllm_models.mine.layrs: unknown field; did you mean layers?"),
        (
            "mine",
            {"mine": {**MINE, "num_hidden_layers": 1}},
            "vllm_models.mine.num_hidden_layers: unknown field; did you mean layers?",
        ),
        (
            "mine",
            {"mine": {**MINE, "kv_lora_rank": 512}},
            "vllm_models.mine.kv_lora_rank: unknown field; did you mean"
            " latent_dim, the sum of kv_lora_rank and qk_rope_head_dim?",
        ),
        ("mine", {"mine": {"id": "a/b"}}, "vllm_models.mine.weights_bytes: is missing; use a whole number above 0"),
        ("mine", {"mine": "a/b"}, 'vllm_models.mine: "a/b" is not allowed; use a mapping with id, weights_bytes, '),
    ],
)
def test_a_model_that_is_refused(name: str, own: dict[str, t.Any], line: str) -> None:
    with pytest.raises(CatalogError) as refused:
        Catalog().model(name, own)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_the_names_of_config_json_are_those_that_are_read_there() -> None:
    """And each stands for a field that there is."""
    code = "".join(path.read_text() for path in (ROOT / "plugins" / "module_utils").glob("_*/*.py"))
    assert [name for name in NAMES_OF_CONFIG if f'"{name}"' not in code] == []
    assert {field.partition(",")[0] for field in NAMES_OF_CONFIG.values()} <= set(MODEL_FIELDS)
    assert not set(NAMES_OF_CONFIG) & set(MODEL_FIELDS)


def test_an_image() -> None:
    image = Catalog().image(NGC)
    assert (image["vllm"], image["command_prefix"]) == ("0.10.1.1", ["vllm", "serve"])
    assert (image["registry"], image["path"]) == ("nvcr.io", "nvidia/vllm:25.09-py3")


def test_a_digest_pins_a_known_image() -> None:
    image = Catalog().image(f"{NGC}@sha256:00")
    assert (image["ref"], image["vllm"]) == (f"{NGC}@sha256:00", "0.10.1.1")
    assert image["path"] == "nvidia/vllm:25.09-py3@sha256:00"


def test_an_image_of_docker_hub_keeps_its_first_part() -> None:
    image = Catalog().image("vllm/vllm-openai:v0.20.0-cu130")
    assert (image["registry"], image["path"]) == ("docker.io", "vllm/vllm-openai:v0.20.0-cu130")
    assert image["command_prefix"] == []


@pytest.mark.parametrize(
    ("ref", "prefix"), [("vllm/vllm-openai:v9", []), ("a/b:1", ["vllm", "serve"]), ("nvcr.io/a/b:1", ["vllm", "serve"])]
)
def test_an_image_of_the_user(ref: str, prefix: list[str]) -> None:
    image = Catalog().image(ref, {ref: {}})
    assert (image["command_prefix"], image["status"], image["vllm"], image["faults"]) == (prefix, "unknown", None, [])


def test_an_image_that_is_refused() -> None:
    with pytest.raises(
        CatalogError, match="is not in the image matrix; for a mirror use nvcr.io/nvidia/vllm:25.09-py3"
    ):
        Catalog().image("10.0.0.5:5000/nvidia/vllm:25.09-py3")
    with pytest.raises(CatalogError, match=r"vllm_images\[a/b:1\].vllm: 1 is not allowed; use a version in quotes"):
        Catalog().image("a/b:1", {"a/b:1": {"vllm": 1}})


@pytest.mark.parametrize(
    "version", ["0.12.0rc", "0.11.1.dev+g1", "0.19.0alpha1", "0.19.0beta", "0.10.0c1", "0.9.0.post1"]
)
def test_versions_as_python_spells_them(version: str) -> None:
    assert image_problems("a/b:1", {"vllm": version}) == []


def test_profiles_are_merged() -> None:
    profiles = Catalog().profiles({"latency": {"args": {"max_num_seqs": 4}}, "mine": {"args": {}}})
    assert profiles["latency"]["args"]["max_num_seqs"] == 4
    assert profiles["latency"]["args"]["max_model_len"] == 16384
    assert list(profiles) == ["throughput", "latency", "concurrency", "mine"]


@pytest.mark.parametrize(
    ("layers", "good"),
    [
        ({4: 21, 128: 20}, True),
        ({"4": 21}, True),
        ({1: 3, 2: 1}, True),
        ({1: 3, 4: 2}, False),  # of two models
        ({8: 3}, False),
        ({4: "21"}, False),
        ({4: 0}, False),
        ([4], False),
    ],
)
def test_layers_by_the_tokens_of_a_vector(layers: t.Any, good: bool) -> None:
    lines = model_problems("mine", {**MINE, "compressed": layers})
    said = (
        "is not allowed; use numbers of layers by the tokens of a vector, either of 4 and 128, such as"
        " {4: 21, 128: 20}, or of 1 and 2"
    )
    assert [line.partition(" ")[0] for line in lines] == ([] if good else ["vllm_models.mine.compressed:"])
    assert all(line.endswith(said) for line in lines)


def test_problems_name_the_entry() -> None:
    assert model_problems("UP", MINE)[0].startswith("vllm_models.UP: the name is not allowed")
    assert image_problems("a:1", {"faults": [{"who": 1}]}) == [
        "vllm_images[a:1].faults: a list is not allowed; use a list of {what, remedy, fixed_in, only_with: a mapping}"
    ]
    assert profile_problems("p", {}) == ["vllm_profiles.p.args: is missing; use a mapping"]


def test_adding_a_model_is_adding_a_file(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "new.yml").write_text(
        "id: a/new\nweights_bytes: 5\nlayers: 1\nkv_heads: 1\nhead_dim: 8\nnative_context: 10\n", encoding="utf-8"
    )
    assert Catalog(tmp_path).model("a/new")["name"] == "new"


@pytest.mark.parametrize(
    ("model", "oldest"),
    [
        ("example-org/Qwen3.6-35B-A3B-NVFP4", "0.17"),
        ("example-org/Qwen3.6-27B-FP8", "0.17"),
        ("example-org/Qwen3.8-Flash-Next-NVFP4", "0.29"),
        ("example-org/Qwen3-Coder-Next-FP8", "0.10.2"),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", "0.13.0"),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-FP8", "0.11.1"),
        ("google/gemma-4-26B-A4B-it", "0.19"),
        ("zai-org/GLM-4.7-Flash", "0.15"),
        ("Qwen/Qwen3-8B", None),
        ("example-org/Llama-3-distilled-from-Qwen3.6", None),
    ],
)
def test_what_the_name_of_a_model_says(model: str, oldest: str | None) -> None:
    entry = Catalog().model(model)
    assert (entry["described"], entry["min_vllm"]) == (False, oldest)


def test_a_model_newer_than_the_image_by_its_name() -> None:
    catalog = Catalog()
    old, new = (catalog.image(f"nvcr.io/nvidia/vllm:{month}-py3") for month in ("25.09", "26.08"))
    model = "example-org/Qwen3.6-35B-A3B-NVFP4"
    assert catalog.model(model, None, old)["image_cannot_run"] == (
        "its vLLM 0.10.1.1 is older than 0.17, the first that knows it"
    )
    assert catalog.model(model, None, new)["image_cannot_run"] is None
    # what was read from the image itself counts more
    patched = {**old, "architectures": ["Qwen3_5MoeForConditionalGeneration"]}
    assert catalog.model(model, None, patched)["image_cannot_run"] is None
    without = {**new, "architectures": ["Qwen3ForCausalLM"]}
    assert str(catalog.model(model, None, without)["image_cannot_run"]).startswith("its own registry has no Qwen3_5Moe")


def test_a_model_that_vllm_runs_no_more() -> None:
    catalog = Catalog()
    entry = {**MINE, "architectures": ["AquilaForCausalLM"]}
    for month, reason in (
        ("25.09", None),
        ("26.07", None),
        ("26.10", "its vLLM 0.31.0 has no AquilaForCausalLM any more"),
    ):
        image = catalog.image(f"nvcr.io/nvidia/vllm:{month}-py3")
        assert catalog.model("mine", {"mine": entry}, image)["image_cannot_run"] == reason


def test_the_families_are_of_known_architectures() -> None:
    catalog = Catalog()
    for item in catalog.families():
        assert set(item) <= {"name", "architectures", "min_vllm"}
        assert item["name"] == item["name"].lower()
        for architecture in item["architectures"]:
            assert catalog.architectures().knows(architecture, "0.33.0"), architecture


def test_its_config_counts_more_than_its_name() -> None:
    catalog = Catalog()
    image = catalog.image("nvcr.io/nvidia/vllm:25.09-py3")
    name = "example-org/Qwen3.6-8B-as-Qwen3"
    entry = catalog.model(name, None, image)
    assert entry["image_cannot_run"]
    read = {"id": name, "layers": 36, "architectures": ["Qwen3ForCausalLM"]}
    found = complete(entry, read, catalog, image)
    assert (found["image_cannot_run"], found["min_vllm"], found["layers"]) == (None, None, 36)
    # and where it says nothing new, what the name said stays
    name = "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8"
    read = {"id": name, "architectures": ["NemotronHForCausalLM"]}
    found = complete(catalog.model(name, None, image), read, catalog, image)
    assert "older than 0.13.0" in str(found["image_cannot_run"])
    # a model whose name says nothing
    read = {"id": "a/b", "architectures": ["Gemma4ForConditionalGeneration"]}
    found = complete(catalog.model("a/b", None, image), read, catalog, image)
    assert "older than 0.19" in str(found["image_cannot_run"])


def test_a_gguf_file_of_the_hub_is_told() -> None:
    with pytest.raises(CatalogError, match="names a GGUF file of a repository.*use its repository of safetensors"):
        Catalog().model("some-org/Qwen3-8B-GGUF:Q4_K_M")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (
            "/srv/gguf/qwen3-8b-q4_k_m.gguf",
            "GGUF is neither planned nor checked here, use the folder of its safetensors",
        ),
        ("/srv/models/mine/model.safetensors", "write its folder, /srv/models/mine$"),
        ("/srv/models/mine/config.JSON", "write its folder, /srv/models/mine$"),
        ("/mine.gguf", "GGUF is neither planned nor checked here"),
        ("/mine.safetensors", "write its folder, /$"),
    ],
)
def test_a_file_instead_of_the_folder_of_a_model(name: str, advice: str) -> None:
    with pytest.raises(CatalogError, match=f"looks like a file, not the folder of a model; {advice}"):
        Catalog().model(name)
    assert Catalog().model("/srv/models/mine-gguf")["id"] == "/srv/models/mine-gguf"


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        ("https://huggingface.co/Qwen/Qwen3-8B", "write Qwen/Qwen3-8B"),
        (
            "https://huggingface.co/Qwen/Qwen3-8B/tree/main",
            "write Qwen/Qwen3-8B, and vllm_extra_args: {revision: main}",
        ),
        ("hf.co/Qwen/Qwen3-8B/", "write Qwen/Qwen3-8B"),
        ("https://www.huggingface.co/Qwen/Qwen3-8B?library=vllm", "write Qwen/Qwen3-8B"),
        (
            "https://huggingface.co/Qwen/Qwen3-8B/blob/main/config.json",
            "write Qwen/Qwen3-8B, and vllm_extra_args: {revision: main}",
        ),
        ("Qwen/Qwen3-8B@refs/pr/1", "write Qwen/Qwen3-8B, and vllm_extra_args: {revision: refs/pr/1}"),
        ("hf://Qwen/Qwen3-8B", "write Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8B@4f1c9e", "write Qwen/Qwen3-8B, and vllm_extra_args: {revision: 4f1c9e}"),
    ],
)
def test_a_model_that_is_named_as_other_programs_name_it(model: str, remedy: str) -> None:
    with pytest.raises(CatalogError) as error:
        Catalog().model(model)
    assert str(error.value) == f'"{model}" is more than the id of a repository; {remedy}'


@pytest.mark.parametrize("model", ["qwen3:8b", "s3://bucket/qwen3-8b", "https://example.org/a/b"])
def test_what_names_no_repository(model: str) -> None:
    with pytest.raises(CatalogError, match="is not in the catalog|is neither the id"):
        Catalog().model(model)
