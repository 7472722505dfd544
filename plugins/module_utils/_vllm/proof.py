# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that a server does what it is for: a token, or what a model that generates no text computes.

/health stays fine when the engine is frozen. Which of the paths a server has depends on its model: an embedding model
has no completions (404; 400 in vLLM 0.10, 501 in newer ones), and is asked for an embedding then; a speech model
(Whisper) only writes down what it hears, and hears a second of silence.
"""

from __future__ import annotations

import io
import time
import typing as t
import wave

from .._outside.values import mapping, parse_json, real, sequence
from .api import Answer, Canary, Completion, Form, error_message, generate, request

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
_TRANSCRIPTIONS = "/v1/audio/transcriptions"
_SAMPLES = 16_000  # a second, as speech models take it
_NO_SUCH_PATH = (404, 405, 501)


def prove(url: str, model: str, timeout: float, key: str | None = None) -> Canary:
    """One token; of a server that completes no text, one embedding, score, classification, pooling or transcription."""
    first = generate(url, model, timeout, key)
    if not _is_not_for_that(first):
        return first
    for way in _WAYS:
        found = _ask(way, url, model, timeout, key)
        if not _is_not_for_that(found):
            return found
    found = _transcribe(url, model, timeout, key)
    return first if _is_not_for_that(found) else found


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
    count = _finite(answer.body, way.read)
    return _canary(
        answer, begin, way.text.format(count=count) if count else "", f"{way.path} answers without finite numbers"
    )


def _transcribe(url: str, model: str, timeout: float, key: str | None) -> Canary:
    """What a model hears in silence is its own affair: that it was computed is the proof."""
    begin = time.monotonic()
    form = Form({"model": model, "response_format": "json", "temperature": "0"}, "silence.wav", _silence())
    answer = request(url + _TRANSCRIPTIONS, timeout, key, form)
    is_text = isinstance(mapping(parse_json(answer.body)).get("text"), str)
    return _canary(answer, begin, "a transcription" if is_text else "", f"{_TRANSCRIPTIONS} answers without a text")


def _canary(answer: Answer, begin: float, proven: str, otherwise: str) -> Canary:
    if answer.status != 200:
        return Canary(None, error_message(answer), answer.status)
    if not proven:
        return Canary(None, otherwise, answer.status)
    return Canary(Completion(proven, 0, round(time.monotonic() - begin, 2)), None, answer.status)


def _silence() -> bytes:
    """A second of it, as a WAV file of 16 bits and 16 kHz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_SAMPLES)
        sound.writeframes(bytes(2 * _SAMPLES))
    return file.getvalue()


def _finite(body: str, read: _Read) -> int:
    """How many numbers the first entry has, of which none is NaN or infinite; else 0."""
    entries = sequence(mapping(parse_json(body)).get("data"))
    numbers = _flat(read(mapping(entries[0]))) if entries else []
    sound = [isinstance(number, (int, float)) and real(number) is not None for number in numbers]
    return len(sound) if all(sound) else 0


def _flat(found: t.Any) -> list[t.Any]:
    """Pooling returns one list of numbers, or one for each token."""
    return [number for item in sequence(found) for number in (item if isinstance(item, list) else [item])]
