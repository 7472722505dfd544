# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`vllm bench serve`: its command line, and what its result says. Pure.

One command line fits vLLM 0.10.1.1 to 0.32, because every setting whose default differs is passed: the test request
before the run (always in 0.10.1.1, none in 0.32), the temperature (0 in 0.10.1.1, the server's in 0.32), and the end of
the sequence (ignored for random prompts in 0.32 only). --endpoint-type of 0.10.1.1 is gone and not passed.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass

from .._outside.text import plain, plain_lines
from .._outside.values import mapping, parse_json, real, whole

# Inside of the container, where Compose maps the port from (compose.yaml.j2).
URL_INSIDE = "http://127.0.0.1:8000"
# Seconds for the test request, which is the warm-up as well: it fills the prefix cache with a common prefix.
READY_SECONDS = 120
LATENCIES = ("ttft", "tpot", "itl", "e2el")
PERCENTILES = (50, 95, 99)
# The key stays in the environment: the container has it already. A proxy must not see requests to the server itself,
# and a benchmark downloads nothing. The limit of time counts inside: `docker exec` leaves its process behind.
SCRIPT = """\
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
[ -z "${VLLM_API_KEY:-}" ] || export OPENAI_API_KEY="$VLLM_API_KEY"
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
folder=$(mktemp -d) || exit 125
trap 'rm -rf "$folder"' EXIT
seconds=$1; shift
timeout --kill-after=10 "$seconds" "$@" --result-dir "$folder" --result-filename result.json >&2
code=$?
cat "$folder/result.json" 2>/dev/null
exit $code
"""
TIMED_OUT = (124, 137)
# The commit of the model that the hub cache in the container names.
REVISION_SCRIPT = 'cat "${HF_HUB_CACHE:-${HF_HOME:-$HOME/.cache/huggingface}/hub}/models--$1/refs/main" 2>/dev/null'

# Options of the server that decide which tokenizer reads the prompts.
_TOKENIZER_OPTIONS = ("--tokenizer", "--tokenizer-mode")
# Progress, settings, figures, and what is logged in every run.
_NOISE = re.compile(
    r"\s|$|[-=]{5}|tip: |Namespace\(|\d+%\||(\(\w+ pid=\d+\) )?(INFO|WARNING)\b|[IW]\d{4} |[^:]{1,60}:\s+[\d.]+\s*$"
)


@dataclass(frozen=True)
class Cell:
    """One measurement: so many requests of one shape, so many of them at a time. Lengths in tokens."""

    name: str
    concurrency: int
    prompts: int
    input_tokens: int
    output_tokens: int
    prefix_tokens: int = 0  # of a prefix that all prompts share, before the input

    @property
    def tokens(self) -> int:
        """Of one request, with its answer."""
        return self.prefix_tokens + self.input_tokens + self.output_tokens

    @property
    def asked_tokens(self) -> int:
        """What the server generates for the cell, the test request included."""
        return (self.prompts + 1) * self.output_tokens

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


class Served(t.NamedTuple):
    """What the command of a container serves."""

    model: str
    words: list[str]

    def option(self, name: str) -> str | None:
        """The value of an option of `vllm serve`; empty for a bare flag; None if it is not there."""
        for number, word in enumerate(self.words):
            if word == name:
                following = self.words[number + 1 : number + 2]
                return following[0] if following and not following[0].startswith("--") else ""
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return None

    @property
    def url(self) -> str:
        """Where the container itself finds its server. Only one in the network of the host has both options."""
        host, port = self.option("--host"), self.option("--port")
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}" if host and port else URL_INSIDE


def cell_problem(cell: Cell) -> str | None:
    """What is wrong with the figures of a cell, in one line."""
    for name, low in (
        ("concurrency", 1),
        ("prompts", 1),
        ("input_tokens", 1),
        ("output_tokens", 1),
        ("prefix_tokens", 0),
    ):
        value = getattr(cell, name)
        if value < low:
            return f"cells: {name} of {cell.name} is {value}; use {low} or more"
    if cell.prompts < cell.concurrency:
        return f"cells: prompts of {cell.name} is {cell.prompts}; use its concurrency ({cell.concurrency}) or more"
    return None


def served(inspected: t.Mapping[str, t.Any]) -> Served | None:
    """Model and options from an entry of `docker inspect`: [vllm, serve,] MODEL OPTIONS..., or --model MODEL.

    The entry point is never part of it, and may be a script of the owner.
    """
    words = [plain(str(word)) for word in mapping(inspected.get("Config")).get("Cmd") or []]
    if "serve" in words:
        words = words[words.index("serve") + 1 :]
    if words and not words[0].startswith("-"):
        return Served(words[0], words[1:])
    model = Served("", words).option("--model")
    return Served(model, words) if model else None


def command(cell: Cell, server: Served, served_name: str, seed: int) -> list[str]:
    """`vllm bench serve` for a cell, without the place of its result."""
    words = ["vllm", "bench", "serve", "--backend", "openai", "--base-url", server.url, "--endpoint", "/v1/completions"]
    words += ["--model", server.model, "--served-model-name", served_name]
    for name in _TOKENIZER_OPTIONS:
        value = server.option(name)
        words += [name, value] if value else []
    if server.option("--trust-remote-code") is not None:
        words += ["--trust-remote-code"]
    words += ["--dataset-name", "random", "--random-input-len", str(cell.input_tokens)]
    words += ["--random-output-len", str(cell.output_tokens), "--random-prefix-len", str(cell.prefix_tokens)]
    words += ["--num-prompts", str(cell.prompts), "--max-concurrency", str(cell.concurrency), "--seed", str(seed)]
    words += ["--ignore-eos", "--temperature", "0", "--ready-check-timeout-sec", str(READY_SECONDS)]
    words += ["--percentile-metrics", ",".join(LATENCIES), "--metric-percentiles", ",".join(map(str, PERCENTILES))]
    return [*words, "--disable-tqdm", "--save-result"]


def parse_result(text: str) -> dict[str, t.Any] | None:
    """The figures of the JSON that --save-result writes: numbers, None where a version has none. None: no such JSON.

    Throughputs in tokens (or requests) per second, latencies in milliseconds, duration in seconds.
    """
    found = mapping(parse_json(text))
    if whole(found.get("completed")) is None:
        return None
    counts = ("completed", "failed", "total_input_tokens", "total_output_tokens", "max_concurrent_requests")
    rates = ("duration", "request_throughput", "output_throughput", "total_token_throughput")
    kinds = ("mean", "median", "std", *(f"p{number}" for number in PERCENTILES))
    times = [f"{kind}_{latency}_ms" for latency in LATENCIES for kind in kinds]
    return {
        **{name: whole(found.get(name)) for name in counts},
        **{name: real(found.get(name)) for name in (*rates, *times)},
    }


def problem_of(cell: Cell, code: int, result: t.Mapping[str, t.Any] | None, log: str, seconds: int) -> str | None:
    """Why a run does not count, in one line; None if it does. The exit code is 0 even if every request has failed."""
    if code in TIMED_OUT:
        return f"{cell.name}: `vllm bench serve` did not end within {seconds} s"
    if result is None:
        return f"{cell.name}: `vllm bench serve` ended with {code} and without a result: {last_words(log)}"
    if result["completed"] != cell.prompts:
        return f"{cell.name}: {result['completed']} of {cell.prompts} requests succeeded: {last_words(log)}"
    if not result["total_output_tokens"]:
        return f"{cell.name}: no token was generated"
    return None


def last_words(log: str) -> str:
    """The line of the log that is likely to name the cause: the last error, else the last line that is no figure."""
    lines = [line.strip() for line in plain_lines(log).splitlines() if not _NOISE.match(line)]
    errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b", line)]
    failures = [line for line in lines if "failed" in line.lower()]
    return (errors or failures or lines or ["no output"])[-1][:300]


def is_foreign(cell: Cell, generated: int | None) -> bool | None:
    """Whether the server generated clearly more than the cell asked for: others used it. None if it is not known.

    The watchdog and a health check ask for single tokens.
    """
    if generated is None:
        return None
    return generated > cell.asked_tokens + max(64, cell.asked_tokens // 50)


def too_long(cell: Cell, max_model_len: int | None) -> str | None:
    """Why a cell cannot be run by a server of that context length."""
    if max_model_len is None or cell.tokens <= max_model_len:
        return None
    return f"needs {cell.tokens} tokens, the model is served with {max_model_len}"
