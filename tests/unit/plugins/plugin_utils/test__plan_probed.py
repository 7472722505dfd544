# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service against what its image has said: the answer of a real vLLM 0.32, and variants of it."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.image_probe import read_answer

from support.paths import ROOT
from support.services import resolved

ANSWER = read_answer((ROOT / "tests/fixtures/vllm/0.32/image_probe.json").read_text()) or {}
REF = "vllm/vllm-openai:v0.32.0"
MINE = "r.example/mine:1"
# Of a model that no entry describes; its files say what it is.
INFO = {"id": "a/b", "weights_bytes": 10**9, "layers": 2, "kv_heads": 2, "head_dim": 64, "config_context": 40960}


def probed(ref: str = MINE, entrypoint: t.Sequence[str] = ("/entry.sh",), **fields: t.Any) -> dict[str, t.Any]:
    image = {"name": ref, "id": "sha256:1", "entrypoint": list(entrypoint), "cmd": [], "digests": []}
    return {"image": image, "probe": {**ANSWER, **fields}}


def refusal(architectures: list[str], probe: t.Mapping[str, t.Any] | None, **variables: t.Any) -> str:
    wanted = {"vllm_model": "a/b", "vllm_image": MINE, "vllm_image_allow": ["unknown"], **variables}
    found = resolved(model_info={**INFO, "architectures": architectures}, image_probe=probe, **wanted)
    return found.image_refusal


def test_an_architecture_that_the_image_does_not_have() -> None:
    lacks = probed(architectures=["LlamaForCausalLM"], vllm="0.17.1", transformers_architectures=None)
    said = refusal(["Qwen3ForCausalLM"], lacks)
    assert said == (
        f'vllm_image: "{MINE}" cannot run b, its vLLM 0.17.1 has no Qwen3ForCausalLM (it was asked itself);'
        " use nvcr.io/nvidia/vllm:25.09-py3, or set vllm_image_allow: [cannot_run]"
    )
    assert refusal(["Qwen3ForCausalLM", "LlamaForCausalLM"], lacks) == ""


OPEN = {"vllm_publish_address": "0.0.0.0", "vllm_api_key": "k" * 32}


def exposed(probe: t.Mapping[str, t.Any] | None, ref: str = MINE, **variables: t.Any) -> str:
    wanted = {"vllm_model": "a/b", "vllm_image": ref, "vllm_image_allow": ["unknown"], **OPEN, **variables}
    lines = resolved(model_info=INFO, image_probe=probe, **wanted).probe_problems
    return "\n".join(line for line in lines if "published" in line)


def test_the_image_itself_says_which_advisories_it_has() -> None:
    """Its reference tells no version: nothing was known of it before it was asked."""
    assert exposed(None) == ""
    assert exposed(probed()) == ""
    assert exposed(probed(vllm="0.21.0")) == (
        f'vllm_image: "{MINE}" has a security advisory (CVE-2026-48746: a crafted Host header passes vLLM\'s own check'
        " of the API key, fixed in vLLM 0.22.0) (it was asked itself) and would be published on 0.0.0.0; use"
        " nvcr.io/nvidia/vllm:26.07-py3, or vllm_publish_address: 127.0.0.1, or set vllm_image_allow: [advisory]"
    )


@pytest.mark.parametrize(("version", "said"), [(None, ""), ("0.1.dev1+g1a2b3c4", ' ("0.1.dev1+g1a2b3c4")')])
def test_an_image_that_does_not_say_its_version_is_not_published(version: str | None, said: str) -> None:
    assert exposed(probed(vllm=version)) == (
        f'vllm_image: "{MINE}" would be published on 0.0.0.0, and does not say the version of its vLLM{said}, which'
        " decides on its security advisories; use nvcr.io/nvidia/vllm:26.07-py3, or vllm_publish_address: 127.0.0.1,"
        f' or, if it has none, set vllm_images: {{"{MINE}": {{security: []}}}}, or set vllm_image_allow: [advisory]'
    )
    assert exposed({**probed(), "probe": None}).endswith("set vllm_image_allow: [advisory]")


@pytest.mark.parametrize(
    "variables",
    [
        {"vllm_publish_address": "127.0.0.1"},
        {"vllm_image_allow": ["unknown", "advisory"]},
        {"vllm_images": {MINE: {"security": []}}},  # its owner knows better
    ],
)
def test_an_image_may_be_published_by_its_owners_word(variables: dict[str, t.Any]) -> None:
    assert exposed(probed(vllm=None), **variables) == ""
    assert exposed(probed(vllm="0.21.0"), **variables) == ""


@pytest.mark.parametrize("version", ["0.1.dev1+g1a2b3c4", "dev", None])
def test_a_version_that_says_nothing_does_not_count_more_than_the_owners(version: str | None) -> None:
    """A build without the tags of its repository."""
    assert exposed(probed(vllm=version), vllm_images={MINE: {"vllm": "0.22.1"}}) == ""
    old = exposed(probed(vllm=version), vllm_images={MINE: {"vllm": "0.21.0"}})
    assert "CVE-2026-48746" in old
    assert "asked itself" not in old


def test_the_image_counts_more_than_what_its_reference_says() -> None:
    assert exposed(probed(REF, vllm="0.21.0"), REF)
    assert exposed({**probed(REF), "probe": None}, REF) == ""  # the reference names the version


def test_an_architecture_of_which_nobody_knows() -> None:
    said = refusal(["NoSuchForCausalLM"], probed())
    assert "its vLLM 0.32.0 has no NoSuchForCausalLM (it was asked itself)" in said
    assert "no image of the matrix is known to have it: use another model" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("architectures", "variables"),
    [
        (["Qwen3ForCausalLM"], {}),
        (["Qwen3ForSequenceClassification"], {}),  # a reranker, converted from the generating model
        (["NoSuchForCausalLM"], {"vllm_extra_args": {"trust_remote_code": True}}),
        (["NoSuchForCausalLM"], {"vllm_extra_args": {"hf_overrides": {"architectures": ["Qwen3ForCausalLM"]}}}),
        (["NoSuchForCausalLM"], {"vllm_image_allow": ["unknown", "cannot_run"]}),
        ([], {}),
    ],
)
def test_what_may_run_is_not_refused(architectures: list[str], variables: dict[str, t.Any]) -> None:
    assert refusal(architectures, probed(), **variables) == ""


def test_what_vllm_has_never_named_may_run_by_transformers() -> None:
    fields = {"transformers_architectures": ["NoSuchForCausalLM", "Qwen3ForCausalLM"], "architectures": ["A"]}
    assert refusal(["NoSuchForCausalLM"], probed(**fields)) == ""
    # vLLM has its own code for it, but not this one
    assert "has no Qwen3ForCausalLM" in refusal(["Qwen3ForCausalLM"], probed(**fields))


def test_the_image_counts_more_than_the_matrix() -> None:
    old = {"vllm_images": {MINE: {"vllm": "0.10.1.1", "status": "good"}}}
    newer = ["Qwen3_5ForConditionalGeneration"]
    assert newer[0] in ANSWER["architectures"]
    assert "its vLLM 0.10.1.1 is older than 0.17" in refusal(newer, None, **old)
    assert refusal(newer, probed(), **old) == ""


@pytest.mark.parametrize(
    "probe", [{}, {"image": None, "probe": None}, probed(architectures=None), probed(ref="r.example/other:1")]
)
def test_without_an_answer_the_matrix_decides(probe: dict[str, t.Any]) -> None:
    assert refusal(["NoSuchForCausalLM"], probe) == ""
    old = {"vllm_images": {MINE: {"vllm": "0.10.1.1", "status": "good"}}}
    assert "its vLLM 0.10.1.1 is older than 0.17" in refusal(["Qwen3_5ForConditionalGeneration"], probe, **old)
    assert resolved(image_probe=probe).probe_problems == []


def test_a_fault_that_the_matrix_says_stays() -> None:
    own = {"vllm_images": {MINE: {"vllm": "0.32.0", "cannot_run": {"a/*": "it is slow"}}}}
    assert "it is slow" in refusal(["Qwen3ForCausalLM"], probed(), **own)


def problems(args: dict[str, t.Any], probe: dict[str, t.Any], **variables: t.Any) -> list[str]:
    wanted = {"vllm_image": MINE, "vllm_image_allow": ["unknown"], "vllm_extra_args": args, **variables}
    return resolved(image_probe=probe, **wanted).probe_problems


def test_options_and_parsers_of_the_image() -> None:
    fine = {"enable_auto_tool_choice": True, "tool_call_parser": "hermes", "reasoning_parser": "qwen3", "nnodes": None}
    assert problems(fine, probed()) == []
    asked = f"(its image {MINE} was asked)"
    assert problems({"kv_cache_dtyp": "fp8"}, probed()) == [
        f"vllm_extra_args.kv_cache_dtyp: unknown option of vLLM 0.32.0; did you mean kv_cache_dtype? {asked}"
    ]
    (line,) = problems({"enable_auto_tool_choice": True, "tool_call_parser": "herms"}, probed())
    start = 'vllm_extra_args.tool_call_parser: "herms" is no parser of tool calls in vLLM 0.32.0; did you mean hermes? '
    assert line.startswith(start + "known: apertus, ")
    assert line.endswith(asked)
    (line,) = problems({"reasoning_parser": "deep"}, probed(vllm=None))
    assert '"deep" is no parser of reasoning in vLLM of the image; ' in line


@pytest.mark.parametrize(
    "args",
    [
        {"tool_call_parser": "herms"},  # vLLM looks at it only with enable_auto_tool_choice
        {"enable_auto_tool_choice": True, "tool_call_parser": "mine", "tool_parser_plugin": "/mine.py"},
        {"reasoning_parser": "mine", "reasoning_parser_plugin": "/mine.py"},
        {"reasoning_parser": ""},
    ],
)
def test_parsers_that_the_image_need_not_have(args: dict[str, t.Any]) -> None:
    assert problems(args, probed()) == []


@pytest.mark.parametrize(
    ("entrypoint", "prefix", "said"),
    [
        (["vllm", "serve"], ["vllm", "serve"], "the entry point of the image is `vllm serve` already: set it to []"),
        (["vllm", "serve"], [], None),
        ([], [], "the image has no entry point: set it to [vllm, serve]"),
        ([], ["vllm", "serve"], None),
        (["/entry.sh"], [], None),  # what a script starts is not known
        (["/entry.sh"], ["vllm", "serve"], None),
    ],
)
def test_the_command_fits_the_entry_point(entrypoint: list[str], prefix: list[str], said: str | None) -> None:
    own = {"vllm_images": {MINE: {"vllm": "0.32.0", "command_prefix": prefix}}}
    found = problems({}, probed(entrypoint=entrypoint), **own)
    assert found == ([] if said is None else [f"vllm_images[{MINE}].command_prefix: {prefix_text(prefix)}{said}"])
    assert problems({}, probed(entrypoint=entrypoint), **own, vllm_entrypoint=["/opt/files/start.sh"]) == []


def prefix_text(prefix: list[str]) -> str:
    return f"[{', '.join(prefix)}] is not allowed; "


def test_a_probe_changes_nothing_of_the_service() -> None:
    with_probe, without = resolved(image_probe=probed(ref="nvcr.io/nvidia/vllm:25.09-py3")), resolved()
    ignored = ("probe_problems", "image_refusal")
    same = [{key: value for key, value in one.as_dict().items() if key not in ignored} for one in (with_probe, without)]
    assert json.dumps(same[0]) == json.dumps(same[1])
