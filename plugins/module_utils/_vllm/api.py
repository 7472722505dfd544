# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP side of a vLLM server, as 0.10.1.1 and 0.32 have it."""

from __future__ import annotations

import json
import re
import threading
import time
import typing as t
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass

from .._outside.text import plain, plain_lines
from .._outside.values import mapping, parse_json, real, sequence, text, whole

MAX_BODY = 4 * 1024 * 1024
MAX_MESSAGE = 300


@dataclass
class Answer:
    """An HTTP answer, or why there is none: refused, reset, timeout or another error's text."""

    status: int | None
    body: str = ""
    error: str | None = None


class Model(t.NamedTuple):
    id: str
    max_model_len: int | None


@dataclass
class Completion:
    text: str
    tokens: int
    seconds: float


class Canary(t.NamedTuple):
    """One generated token, or why there is none."""

    completion: Completion | None
    error: str | None = None
    status: int | None = None  # of the HTTP answer; None: there was none


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: t.Any, **kwargs: t.Any) -> None:
        return None


class Form(t.NamedTuple):
    """Fields of a form (multipart/form-data), and its one file."""

    fields: t.Mapping[str, str]
    name: str
    content: bytes


_Data = t.Union[t.Mapping[str, t.Any], Form, None]


def request(url: str, timeout: float, key: str | None = None, data: _Data = None) -> Answer:
    """GET, or POST when there is data: JSON or a form. Never through a proxy: the server is on this host.

    TIMEOUT is for all of it: the one of urllib begins anew with each byte that comes.
    """
    if not url.startswith(("http://", "https://")):
        return Answer(None, error="the address must begin with http:// or https://")
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(_request(url, timeout, key, data)), daemon=True)
    asking.start()
    asking.join(timeout)
    return answers[0] if answers else Answer(None, error="timeout")


def _request(url: str, timeout: float, key: str | None, data: _Data) -> Answer:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = None
    if isinstance(data, Form):
        boundary, body = _multipart(data)
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
    elif data is not None:
        body = json.dumps(data).encode()
        headers["Content-Type"] = "application/json"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(urllib.request.Request(url, data=body, headers=headers), timeout=timeout) as answer:
            return Answer(answer.status, answer.read(MAX_BODY).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read(MAX_BODY).decode("utf-8", "replace"))
    except Exception as error:  # a server that is dying may answer anything, and none of it may crash the check
        return Answer(None, error=_reason(error))


def _multipart(form: Form) -> tuple[str, bytes]:
    """The boundary and the body. The boundary is random, so that no content can hold it."""
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in form.fields.items()]
    begin = f'{head}"file"; filename="{form.name}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode()
    return boundary, b"".join([*parts, begin, form.content, f"\r\n--{boundary}--\r\n".encode()])


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    cause = inner if isinstance(inner, BaseException) else error
    if isinstance(cause, TimeoutError):  # socket.timeout, which is another class before Python 3.10, says "timed out"
        return "timeout"
    if isinstance(cause, ConnectionRefusedError):
        return "refused"
    if isinstance(cause, ConnectionError):
        return "reset"
    return "timeout" if "timed out" in str(cause) else _short(str(cause)) or type(cause).__name__


def dotenv_value(content: str, name: str) -> str | None:
    """The value of a variable in an env file, quoted or not; None when it is not there or empty."""
    value = None
    for line in content.splitlines():
        found = re.match(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$", line)
        if not found or found.group(1) != name:
            continue
        raw = found.group(2)
        if raw[:1] == "'" and "'" in raw[1:]:
            value = raw[1 : raw.index("'", 1)]
        elif raw[:1] == '"':
            quoted = re.match(r'"((?:[^"\\]|\\.)*)"', raw)
            value = re.sub(r"\\(.)", r"\1", quoted.group(1)) if quoted else raw
        else:
            value = re.split(r"\s#", raw, maxsplit=1)[0].strip()
    return value or None


def parse_models(body: str) -> list[Model]:
    """/v1/models"""
    models = []
    for entry in map(mapping, sequence(mapping(parse_json(body)).get("data"))):
        name, length = _short(text(entry.get("id"))), entry.get("max_model_len")
        if name:
            models.append(Model(name, whole(length) if isinstance(length, int) else None))
    return models


def parse_version(body: str) -> str | None:
    """/version"""
    return _short(text(mapping(parse_json(body)).get("version"))) or None


def parse_completion(body: str) -> tuple[str, int]:
    """/v1/completions: the text and the number of generated tokens."""
    found = mapping(parse_json(body))
    choices = sequence(found.get("choices"))
    tokens = mapping(found.get("usage")).get("completion_tokens")
    generated = text(mapping(choices[0]).get("text")) if choices else ""
    return plain_lines(generated[:MAX_MESSAGE]), (whole(tokens) or 0) if isinstance(tokens, int) else 0


def generate(url: str, model: str, timeout: float, key: str | None = None) -> Canary:
    """The canary: let the model generate one token. /health stays fine when the engine is frozen."""
    data = {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
    begin = time.monotonic()
    answer = request(f"{url}/v1/completions", timeout, key, data)
    if answer.status != 200:
        return Canary(None, error_message(answer), answer.status)
    generated, tokens = parse_completion(answer.body)
    if tokens < 1:
        return Canary(None, "no token was generated", answer.status)
    return Canary(Completion(generated, tokens, round(time.monotonic() - begin, 2)), None, answer.status)


# Where a server that asks for a key on some paths only answers without one: inference, text, the list, the counts.
# A POST says more than a GET, which a route may not have.
_NEEDS_KEY: tuple[tuple[str, dict[str, t.Any] | None], ...] = (
    ("/invocations", {}),
    ("/tokenize", {}),
    ("/v1/models", None),
    ("/metrics", None),
)
# Refused, or there is no such route.
_REFUSED = (401, 403, 404, 405)
_PATIENCE = 3  # times as long for a path that said nothing: the server may only be busy


def open_paths(url: str, timeout: float) -> list[str]:
    """What the server does not refuse without a key, although clients have to send one. Whatever works on a request
    instead of refusing it does not ask for the key; the first of these is enough."""
    found: list[str] = []
    for path, data in _NEEDS_KEY:
        answer = request(url + path, timeout, data=data)
        if answer.error == "timeout":
            answer = request(url + path, _PATIENCE * timeout, data=data)
        if answer.error == "timeout":
            return [*found, f"{path} says nothing for {_PATIENCE * timeout:.0f} s instead of refusing"]
        if answer.status and answer.status not in _REFUSED:
            found.append(f"{path} answers HTTP {answer.status}")
    return found


def error_message(answer: Answer) -> str:
    """What a refused request was told, in one line."""
    if not answer.status:
        return f"{answer.error}"
    found = mapping(parse_json(answer.body))
    inner = found.get("error", found)
    said = text(mapping(inner).get("message")) or text(inner) or answer.body
    return f"HTTP {answer.status}: {_short(' '.join(said[:MAX_BODY].split()))}"


def _short(said: str) -> str:
    return plain(said[: 10 * MAX_MESSAGE])[:MAX_MESSAGE].strip()


# --- /metrics --------------------------------------------------------------------------------------------------

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

# our name -> the names in vLLM, the first that is there counts. Several engines are added up.
_COUNTS: dict[str, tuple[str, ...]] = {
    "running": ("vllm:num_requests_running",),
    "waiting": ("vllm:num_requests_waiting",),
    "preemptions": ("vllm:num_preemptions_total",),
    "prompt_tokens": ("vllm:prompt_tokens_total",),
    "generation_tokens": ("vllm:generation_tokens_total",),
    "prefix_cache_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_cache_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "draft_tokens": ("vllm:spec_decode_num_draft_tokens_total",),
    "accepted_draft_tokens": ("vllm:spec_decode_num_accepted_tokens_total",),
}
_KV_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_CACHE_CONFIG = "vllm:cache_config_info"


@dataclass
class Metrics:
    values: dict[str, t.Any]
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None

    @property
    def is_idle(self) -> bool:
        """No request runs or waits, as far as the server says so."""
        return self.values["running"] == self.values["waiting"] == 0


def parse_metrics(page: str) -> Metrics | None:
    """What an operator asks for, out of /metrics; None if it is no vLLM's page."""
    wanted = {name for names in _COUNTS.values() for name in names} | set(_KV_USAGE) | {_CACHE_CONFIG}
    samples: dict[str, list[tuple[str, float]]] = {}
    for line in page.splitlines():
        if not line.startswith("vllm:"):
            continue
        found = _SAMPLE.match(line)
        if found and found.group(1) in wanted:
            value = real(found.group(3))
            if value is not None:
                samples.setdefault(found.group(1), []).append((found.group(2) or "", value))
    if not samples:
        return None
    values: dict[str, t.Any] = {}
    for name, sources in _COUNTS.items():
        found_name = next((source for source in sources if source in samples), None)
        values[name] = int(sum(value for _labels, value in samples[found_name])) if found_name else None
    usage = next((source for source in _KV_USAGE if source in samples), None)
    values["kv_cache_usage"] = max(value for _labels, value in samples[usage]) if usage else None
    values["prompt_tokens_per_second"] = values["generation_tokens_per_second"] = None
    values["prefix_cache_hit_rate"] = _share(values["prefix_cache_hits"], values["prefix_cache_queries"])
    values["draft_acceptance_rate"] = _share(values["accepted_draft_tokens"], values["draft_tokens"])
    metrics = Metrics(values)
    for labels, _value in samples.get(_CACHE_CONFIG, [])[:1]:
        config = dict(_LABEL.findall(labels))
        # older versions have no such label, and their blocks say nothing where several groups of layers share them
        metrics.kv_cache_tokens = whole(config.get("kv_cache_size_tokens"))
        metrics.max_concurrency = real(config.get("kv_cache_max_concurrency"))
    return metrics


def _share(part: int | None, whole_: int | None) -> float | None:
    return round(part / whole_, 4) if whole_ and part is not None else None


def add_rates(before: Metrics, after: Metrics, seconds: float) -> None:
    """Tokens per second between two pages, into the later one. A server that started anew in between has no rate."""
    for name in ("prompt_tokens", "generation_tokens"):
        first, last = before.values[name], after.values[name]
        if first is not None and last is not None and last >= first and seconds > 0:
            after.values[f"{name}_per_second"] = round((last - first) / seconds, 1)
