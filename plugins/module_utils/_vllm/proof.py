# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that a server does what it is for: a token, or what a model that generates no text computes.

/health stays fine when the engine is frozen. Which of the paths a server has depends on its model: an embedding model
has no completions (404; 400 in vLLM 0.10, 501 in newer ones), and is asked for an embedding then.
"""

from __future__ import annotations

import time
import typing as t

from .._outside.values import mapping, parse_json, real, sequence
from .api import Canary, Completion, error_message, generate, request

_Read = t.Callable[[t.Mapping[str, t.Any]], t.Any]


class _Way(t.NamedTuple):
    path: str
    data: t.Mapping[str, t.Any]
    read: _Read  # the numbers of an entry of "data"
    text: str  # {count} numbers


_INPUT = {"input": "Hello"}
_WAYS = (
    _Way("/v1/embeddings", _INPUT, lambda entry: entry.get("embedding"), "an embedding of {count} numbers"),
    _Way("/v1/score", {"text_1": "Hello", "text_2": "Hello"}, lambda entry: [entry.get("score")], "a score"),
    _Way("/classify", _INPUT, lambda entry: entry.get("probs"), "probabilities of {count} classes"),
    _Way("/pooling", _INPUT, lambda entry: entry.get("data"), "{count} pooled numbers"),
)
_NO_SUCH_PATH = (404, 405, 501)


def prove(url: str, model: str, timeout: float, key: str | None = None) -> Canary:
    """One token; of a server that completes no text, one embedding, score, classification or pooling."""
    first = generate(url, model, timeout, key)
    if not _is_not_for_that(first):
        return first
    for way in _WAYS:
        found = _ask(way, url, model, timeout, key)
        if not _is_not_for_that(found):
            return found
    return first


def _is_not_for_that(canary: Canary) -> bool:
    """Whether the server answers that its model does not do this; a wrong name of a model is a 404 as well."""
    if canary.completion is not None or canary.status is None:
        return False
    error = canary.error or ""
    if canary.status in _NO_SUCH_PATH:
        return "The model `" not in error
    return canary.status == 400 and "does not support" in error


def _ask(way: _Way, url: str, model: str, timeout: float, key: str | None) -> Canary:
    begin = time.monotonic()
    answer = request(url + way.path, timeout, key, {"model": model, **way.data})
    if answer.status != 200:
        return Canary(None, error_message(answer), answer.status)
    count = _finite(answer.body, way.read)
    if not count:
        return Canary(None, f"{way.path} answers without finite numbers", answer.status)
    seconds = round(time.monotonic() - begin, 2)
    return Canary(Completion(way.text.format(count=count), 0, seconds), None, answer.status)


def _finite(body: str, read: _Read) -> int:
    """How many numbers the first entry has, of which none is NaN or infinite; else 0."""
    entries = sequence(mapping(parse_json(body)).get("data"))
    numbers = _flat(read(mapping(entries[0]))) if entries else []
    sound = [isinstance(number, (int, float)) and real(number) is not None for number in numbers]
    return len(sound) if all(sound) else 0


def _flat(found: t.Any) -> list[t.Any]:
    """Pooling returns one list of numbers, or one for each token."""
    return [number for item in sequence(found) for number in (item if isinstance(item, list) else [item])]
