# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every signature matches what it is for, in front of any process, and nothing that is close to it."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import (
    condition,
    explain,
    find,
    recognize,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.signatures import (
    CONDITIONS,
    FAMILIES,
    HARMLESS,
    RULES,
    SIGNATURES,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.text import (
    MAX_EVIDENCE,
    around,
    mask,
    shorten_middle,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import LogState, parse
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.tracebacks import Problem

ROOT = Path(__file__).parents[4]
SAMPLES: dict[str, dict[str, t.Any]] = yaml.safe_load((ROOT / "tests/fixtures/vllm/causes.yml").read_text())
MATCHES = [(name, entry["line"], entry["words"]) for name, found in SAMPLES.items() for entry in found["match"]]
NEAR = [(name, line) for name, found in SAMPLES.items() for line in found["near"]]
KINDS = {signature.id: signature.kind for signature in SIGNATURES}
LOG = "(EngineCore pid=26) ERROR 11-23 09:37:05 [core.py:1510] "


def shown(name: str, state: LogState) -> t.Any:
    """What a log says of the kind of a signature: a cause, or what it waits for."""
    if KINDS[name] == "wait":
        return explain(state.wait) if state.wait else None
    if KINDS[name] in ("hint", "retry"):
        return explain(state.hint) if state.hint else None
    return state.cause


def test_every_signature_has_a_match_and_a_near_miss() -> None:
    assert list(SAMPLES) == [signature.id for signature in SIGNATURES]
    assert [name for name, found in SAMPLES.items() if not (found["match"] and found["near"])] == []


@pytest.mark.parametrize("prefix", ["", LOG], ids=["plain", "log"])
@pytest.mark.parametrize(("name", "line", "words"), MATCHES)
def test_match(name: str, line: str, words: str, prefix: str) -> None:
    text = "\n".join(prefix + piece for piece in line.rstrip("\n").split("\n"))
    cause = shown(name, parse(f"something before\n{text}\nsomething after\n"))
    assert cause is not None
    if name == "engine_terminated":
        assert cause.id == "stopped"
        return
    assert cause.id == name
    assert words in cause.meaning + cause.remedy
    assert "?" not in cause.meaning + cause.remedy
    assert cause.evidence.split()[-1] in line


@pytest.mark.parametrize(("name", "line"), NEAR)
def test_near_miss(name: str, line: str) -> None:
    state = parse(f"something before\n{line}\nsomething after\n")
    told = [shown(name, state), *(explain(match) for match in state.found)]
    assert name not in [cause.id for cause in told if cause]


def test_entries_are_well_formed() -> None:
    entries = (*SIGNATURES, *CONDITIONS, *HARMLESS, *FAMILIES)
    assert len({entry.id for entry in entries}) == len(entries)
    for signature in SIGNATURES:
        assert signature.kind in ("fatal", "exit", "hint", "retry", "wait", "wrapper")
        assert signature.known in ("seen", "source", "report")
        assert signature.versions
        assert signature.source
    for entry in (*SIGNATURES, *HARMLESS):
        assert entry.literals
        assert all(literal == literal.lower() and len(literal) > 2 for literal in entry.literals)
    assert {rule.family for rule in RULES} | {"unknown_exception"} == {entry.id for entry in FAMILIES}


@pytest.mark.parametrize("entry", [*SIGNATURES, *CONDITIONS, *FAMILIES], ids=lambda entry: entry.id)
def test_texts_are_sentences_without_their_end(entry: t.Any) -> None:
    for text in (entry.meaning, entry.remedy):
        assert text == text.strip()
        assert not text.endswith(".")
        assert "  " not in text


def test_no_remedy_is_to_read_the_log_alone() -> None:
    """Every one names something to set, to run or to do; of a request, nothing has to be."""
    for entry in (entry for entry in (*SIGNATURES, *FAMILIES) if entry.family != "request"):
        assert re.search(r"vllm_|hf_cache_|playbooks/|`|become: true|reboot|other host", entry.remedy), entry.id


def test_what_keeps_image_and_model_is_data_too() -> None:
    for signature in SIGNATURES:
        for variable, name, _value in signature.sets:
            assert variable in ("vllm_extra_args", "vllm_extra_env")
            assert name in signature.remedy, signature.id
    found = recognize("RuntimeError: DeepGEMM backend is not available or outdated.")
    assert found is not None
    assert found.sets == {"vllm_extra_env": {"VLLM_USE_DEEP_GEMM": "0"}}


def test_literals_are_in_what_they_stand_for() -> None:
    """A literal that no text of its signature can hold would hide it."""
    for name, entry in SAMPLES.items():
        literals = next(signature.literals for signature in SIGNATURES if signature.id == name)
        for match in entry["match"]:
            assert any(literal in match["line"].lower() for literal in literals), name


def test_a_passing_fault_may_be_tried_again() -> None:
    found = recognize(
        "Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime"
        " create failed: runc create failed: unable to start container process: can't get final child's PID from pipe:"
        " read init-p: connection reset by peer: unknown"
    )
    assert found is not None
    assert (found.id, found.family, found.retry) == ("docker_transient", "docker", True)
    assert not recognize("manifest unknown").retry  # type: ignore[union-attr]


def test_the_most_telling_line_of_a_short_text_counts() -> None:
    found = recognize(
        "OCI runtime create failed: shim: connection refused\nnvml error: driver/library version mismatch"
    )
    assert found is not None
    assert found.id == "nvml_mismatch"
    assert recognize("all is well") is None


@pytest.mark.parametrize("size", [200, 301, 5000])
def test_evidence_keeps_what_was_found(size: int) -> None:
    text = "x" * size + " driver/library version mismatch " + "y" * size
    found = find(text)
    assert "driver/library version mismatch" in found[0].evidence
    assert len(found[0].evidence) <= MAX_EVIDENCE
    assert len(around(text, size, size + 20)) <= MAX_EVIDENCE


def test_a_condition_keeps_the_end_of_a_long_text() -> None:
    text = condition("start_error", "hf_abc " + "x" * 999 + " the decisive words").evidence
    assert text.startswith("hf_*** x")
    assert text.endswith("the decisive words")
    assert len(text) <= MAX_EVIDENCE
    assert shorten_middle("short") == "short"
    assert mask("no key", None, "") == "no key"


def test_an_exception_shows_no_text_by_accident() -> None:
    assert "secret" not in repr(Problem("", None, lines=["x: secret"], frames=["secret"], header="secret"))
