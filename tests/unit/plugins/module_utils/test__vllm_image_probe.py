# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of an image's answer: that of a real vLLM 0.32, and answers that nobody should believe."""

from __future__ import annotations

import json
import typing as t

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import image_probe
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.fields import image_problems

from support.paths import ROOT

RECORDED = (ROOT / "tests/fixtures/vllm/0.32/image_probe.json").read_text()
INSPECTED = {
    "Id": "sha256:" + "1" * 64,
    "RepoDigests": ["r.example/vllm@sha256:" + "2" * 64],
    "Config": {"Entrypoint": None, "Cmd": ["bash"], "Env": ["HF_TOKEN=hf_notToBePrinted"]},
    "Architecture": "amd64",
    "Size": 1713981218,
}


def answer(**fields: t.Any) -> str:
    return json.dumps({**json.loads(RECORDED), **fields})


def test_the_answer_of_a_real_image() -> None:
    read = image_probe.read_answer(RECORDED)
    assert read is not None
    assert [read[name] for name in image_probe.VERSIONS] == ["0.32.0", "2.13.0+cpu", None, None, None]
    assert {name: read[name] for name in (*image_probe.NAMES, "options")} == {
        name: json.loads(RECORDED)[name] for name in (*image_probe.NAMES, "options")
    }
    assert (read["multi_node"], read["errors"]) == (True, {})
    # the list that was recorded from the source of that version
    recorded = yaml.safe_load((ROOT / "catalog/vllm_options/0.32.0.yml").read_text())["options"]
    assert read["options"] == [{key: value for key, value in one.items() if key != "alias_of"} for one in recorded]


@pytest.mark.parametrize(
    "output",
    ["", "no JSON", "null", "[]", "7", "{}", '{"errors": []}', '{"vllm": "0.32.0"}', RECORDED[:1000], "[" * 100000],
    ids=lambda text: str(text)[:20],
)
def test_what_is_no_answer(output: str) -> None:
    assert image_probe.read_answer(output) is None


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("vllm", 0.32, None),
        ("vllm", "0.32\x1b[31m", None),
        ("vllm", "9" * 65, None),
        ("nccl", ["2"], None),
        ("architectures", "Qwen3ForCausalLM", None),
        ("architectures", [], None),
        ("architectures", ["A\n", "B\x00", {}, None, "C d", "x" * 129, "Good"], ["Good"]),
        ("tool_parsers", {"a": 1}, None),
        ("options", {"name": "a"}, None),
        ("options", [[], {"name": "a"}, {"name": "b", "kind": "c"}, {"name": 1, "kind": "flag"}], None),
        (
            "options",
            [{"name": "nnodes", "kind": "value", "negatable": "yes", "more": 1}],
            [{"name": "nnodes", "kind": "value"}],
        ),
    ],
)
def test_values_of_another_type_or_form_are_left_out(field: str, value: t.Any, read: t.Any) -> None:
    found = image_probe.read_answer(answer(**{field: value}))
    assert found is not None
    assert found[field] == read


def test_errors_are_short_lines_of_known_fields() -> None:
    said = {"nccl": "RuntimeError:\n\x1b[2Jno " + "x" * 1000, "ray": 1, "other": "y"}
    found = image_probe.read_answer(answer(errors=said))
    assert found is not None
    assert found["errors"] == {"nccl": ("RuntimeError: no " + "x" * 1000)[:300]}


def test_without_a_list_of_options_nobody_knows_whether_it_spans_hosts() -> None:
    for options, spans in ((None, None), ([{"name": "port", "kind": "value"}], False)):
        found = image_probe.read_answer(answer(options=options))
        assert found is not None
        assert found["multi_node"] is spans


def test_an_entry_of_the_matrix() -> None:
    read, image = image_probe.read_answer(answer(vllm="0.10.1.1+381074ae.nv25.09", nccl="2.27.7")), _image()
    assert read is not None
    entry = image_probe.entry(image, read)
    assert entry == {
        "vllm": "0.10.1.1",
        "nccl": "2.27.7",
        "digest": "sha256:" + "2" * 64,
        "unpacked_bytes": 1713981218,
        "command_prefix": ["vllm", "serve"],
        "ray": False,
        "multi_node": True,
        "status": "unknown",
        "sources": dict.fromkeys(
            ("vllm", "nccl", "digest", "unpacked_bytes", "command_prefix", "ray", "multi_node"), image_probe.SOURCE
        ),
    }
    assert image_problems("r.example/vllm:1", entry) == []


def test_an_entry_of_a_nightly_build_with_its_own_entry_point() -> None:
    read = image_probe.read_answer(answer(vllm="0.34.0.dev12", errors={"ray": "OSError: no"}))
    assert read is not None
    image = _image(Config={"Entrypoint": ["vllm", "serve"]}, RepoDigests=["a@sha256:1", "b@sha256:2"])
    entry = image_probe.entry(image, read)
    assert (entry["command_prefix"], entry["entrypoint"]) == ([], ["vllm", "serve"])
    assert entry["architectures"] == read["architectures"]
    assert "ray" not in entry
    assert "digest" not in entry  # which of the two is not known
    assert image_problems("r.example/vllm:1", entry) == []


def test_what_docker_says_of_an_image() -> None:
    assert "hf_notToBePrinted" not in json.dumps(_image())
    bent = _image(Config={"Entrypoint": "sh", "Cmd": [1, "a\x1b[0m"]}, Size=-1, Architecture=None, RepoDigests="x")
    assert (bent["entrypoint"], bent["cmd"], bent["bytes"]) == ([], ["a"], None)
    assert (bent["architecture"], bent["digests"]) == (None, [])
    for ident in ("", "sha256:../../etc", None):
        assert image_probe.read_image(json.dumps({**INSPECTED, "Id": ident})) is None


def _image(**fields: t.Any) -> dict[str, t.Any]:
    found = image_probe.read_image(json.dumps({**INSPECTED, **fields}))
    assert found is not None
    return found
