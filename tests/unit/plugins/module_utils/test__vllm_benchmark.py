# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of `vllm bench serve`, and what its results say, with recorded ones of several versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.benchmark import (
    SCRIPT,
    Cell,
    cell_problem,
    command,
    is_foreign,
    last_words,
    parse_result,
    problem_of,
    served,
    too_long,
)

FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm"
OPTIONS: dict[str, list[str]] = json.loads((FIXTURES / "bench_serve_options.json").read_text())
CELL = Cell("c8", concurrency=8, prompts=32, input_tokens=128, output_tokens=256)
NGC = {"Config": {"Entrypoint": ["/opt/nvidia/entry.sh"], "Cmd": ["vllm", "serve", "Qwen/Q", "--max-num-seqs", "64"]}}


def recorded(name: str) -> str:
    return (FIXTURES / name).read_text()


# --- the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", OPTIONS)
def test_every_version_knows_every_option(version: str) -> None:
    entry = {
        "Config": {"Cmd": ["serve", "a/b", "--tokenizer", "c/d", "--tokenizer-mode=mistral", "--trust-remote-code"]}
    }
    server = served(entry)
    assert server is not None
    words = command(Cell("x", 1, 1, 1, 1, 1), server, "name", 7)
    given = {word for word in words if word.startswith("--")}
    assert {"--tokenizer", "--tokenizer-mode", "--trust-remote-code"} < given
    assert given - set(OPTIONS[version]) == set()


def test_the_differences_between_versions_are_passed() -> None:
    """The test request, the temperature and the end of the sequence have another default in each version."""
    server = served(NGC)
    assert server is not None
    words = command(CELL, server, "qwen", 7)
    for option, value in {
        "--temperature": "0",
        "--ready-check-timeout-sec": "120",
        "--model": "Qwen/Q",
        "--served-model-name": "qwen",
        "--num-prompts": "32",
        "--max-concurrency": "8",
        "--seed": "7",
    }.items():
        assert words[words.index(option) + 1] == value
    assert "--ignore-eos" in words
    assert "--endpoint-type" not in words
    assert "--tokenizer" not in words


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (NGC["Config"], "Qwen/Q"),
        ({"Entrypoint": ["vllm", "serve"], "Cmd": ["a/b", "--port", "8000"]}, "a/b"),
        ({"Entrypoint": None, "Cmd": ["--model", "a/b"]}, "a/b"),
        (
            {"Entrypoint": ["bash", "-c", 'pip list; exec vllm serve "$@"', "vllm"], "Cmd": ["a/b", "--port", "1"]},
            "a/b",
        ),
        ({"Entrypoint": ["vllm", "serve"], "Cmd": ["--model=a/b"]}, "a/b"),
    ],
)
def test_what_a_container_serves(config: dict[str, Any], model: str) -> None:
    found = served({"Config": config})
    assert found is not None
    assert found.model == model


@pytest.mark.parametrize("entry", [{}, {"Config": {"Cmd": []}}, {"Config": {"Cmd": ["serve", "--port", "1"]}}])
def test_a_command_without_a_model(entry: dict[str, Any]) -> None:
    assert served(entry) is None


def test_the_key_is_in_the_environment_only() -> None:
    assert 'OPENAI_API_KEY="$VLLM_API_KEY"' in SCRIPT
    assert "KEY" not in SCRIPT.partition("timeout")[2]


# --- results ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "completed", "throughput", "ttft"),
    [
        ("0.10.1.1/bench_serve.json", 32, 331.2, 212.4),
        ("0.24/bench_serve_c1.json", 8, 230.55176762047117, 24.297997500013935),
        ("0.24/bench_serve_c64.json", 256, 8292.784297347342, 188.9673039999593),
        ("0.32/bench_serve.json", 8, 478.5070627493665, 35.84624050017737),
    ],
)
def test_results_of_several_versions(name: str, completed: int, throughput: float, ttft: float) -> None:
    result = parse_result(recorded(name))
    assert result is not None
    assert (result["completed"], result["output_throughput"], result["median_ttft_ms"]) == (completed, throughput, ttft)


def test_a_version_that_does_not_count_failures() -> None:
    result = parse_result(recorded("0.10.1.1/bench_serve.json"))
    assert result is not None
    assert result["failed"] is None
    assert problem_of(CELL, 0, result, "", 60) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"completed": null}', '{"completed": "many"}', "null"])
def test_no_result(text: str) -> None:
    assert parse_result(text) is None


def test_what_is_no_number_is_unknown() -> None:
    result = parse_result('{"completed": 1, "output_throughput": NaN, "median_ttft_ms": "\\u001b[31m", "duration": []}')
    assert result is not None
    assert {result[name] for name in ("output_throughput", "median_ttft_ms", "duration")} == {None}


FAILED = """\
Starting main benchmark run...
/usr/lib/vllm/benchmarks/serve.py:310: UserWarning: All requests failed. This is likely due to a misconfiguration.
  warnings.warn(
============ Serving Benchmark Result ============
Successful requests:                     0
Failed requests:                         32
"""


def test_all_requests_failed_with_exit_code_0() -> None:
    result = parse_result('{"completed": 0, "total_output_tokens": 0}')
    problem = problem_of(CELL, 0, result, FAILED, 60)
    assert problem is not None
    assert problem.startswith("c8: 0 of 32 requests succeeded: ")
    assert "All requests failed" in problem
    assert "\n" not in problem


def test_some_requests_failed() -> None:
    assert problem_of(CELL, 0, {"completed": 31, "total_output_tokens": 1}, "", 60) == (
        "c8: 31 of 32 requests succeeded: no output"
    )


def test_nothing_was_generated() -> None:
    assert problem_of(CELL, 0, {"completed": 32, "total_output_tokens": 0}, "", 60) == "c8: no token was generated"


@pytest.mark.parametrize("code", [124, 137])
def test_the_time_was_up(code: int) -> None:
    assert problem_of(CELL, code, None, "", 60) == "c8: `vllm bench serve` did not end within 60 s"


def test_the_client_failed() -> None:
    log = "Traceback (most recent call last):\n  File x\nValueError: Initial test run failed - Error: Unauthorized\n"
    assert problem_of(CELL, 1, None, log, 60) == (
        "c8: `vllm bench serve` ended with 1 and without a result: ValueError: Initial test run failed - Error:"
        " Unauthorized"
    )


def test_a_whole_log_has_no_last_words_but_its_own_progress() -> None:
    words = last_words(recorded("0.32/bench.log"))
    assert "requests:" not in words
    assert "WARNING" not in words


# --- cells --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"concurrency": 0}, "cells: concurrency of c8 is 0; use 1 or more"),
        ({"prefix_tokens": -1}, "cells: prefix_tokens of c8 is -1; use 0 or more"),
        ({"prompts": 7}, "cells: prompts of c8 is 7; use its concurrency (8) or more"),
        ({}, None),
    ],
)
def test_cells(changes: dict[str, int], line: str | None) -> None:
    assert cell_problem(Cell(**{**CELL.as_dict(), **changes})) == line


def test_a_cell_that_does_not_fit_the_context() -> None:
    cell = Cell("d32768-c1", 1, 3, 2048, 128, 32768)
    assert too_long(cell, 32768) == "needs 34944 tokens, the model is served with 32768"
    assert too_long(cell, 34944) is None
    assert too_long(cell, None) is None


@pytest.mark.parametrize(
    ("generated", "others"), [(None, None), (33 * 256, False), (33 * 256 + 64, False), (34 * 256, True)]
)
def test_others_used_the_server(generated: int | None, others: bool | None) -> None:
    assert is_foreign(CELL, generated) is others
