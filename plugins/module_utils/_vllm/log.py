# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the log of one attempt to start vLLM says: how far it got, and what went wrong. Private to the collection.

Pure text in, data out. Of a huge text only the beginning and the end are read, of a long line only the beginning.
Wordings are those of vLLM 0.10.1.1 and 0.32.
"""

from __future__ import annotations

import contextlib
import math
import re
import typing as t
from dataclasses import dataclass

from .._causes.signatures import (
    CONDITIONS,
    HARMLESS,
    SIGNATURES,
    Signature,
)

# In the order in which a start passes them; "download" is not in vLLM's log and comes from the cache's growth.
PHASES = ("container", "download", "load", "compile", "kv_cache", "capture", "server", "ready")

MAX_TEXT = 2 * 1024 * 1024  # of each end; a start writes some hundred kilobytes, the rest is requests
MAX_LINE = 4000
MAX_EVIDENCE = 300
LEAST_UTILIZATION = 0.05  # a smaller share of the memory serves no model
LEAST_CONTEXT = 1024  # tokens; with less, a server is of no use

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_TOKEN = re.compile(r"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]+")
_PASSWORD = re.compile(r"://[^/\s@]{1,300}@")
_SIGNED = re.compile(r"\?[^\s'\"?]{0,2000}?(?:Signature=|X-Amz-)[^\s'\"]{0,4000}")
_PREFIX = re.compile(
    r"(?:\([^()]{0,60}\bpid=\d+\) ?)?"
    r"(?:(DEBUG|INFO|WARNING|ERROR|CRITICAL)[ :]\s*)?"
    r"(\d\d-\d\d \d\d:\d\d:\d\d )?(?:\[[\w.<>-]{1,60}:\d+\] )?"
)
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)(?::|$)")


def link(name: str) -> str:
    """Where to read more of a cause or a note, from the collection's root. tools/troubleshooting.py writes the page."""
    return f"docs/troubleshooting.md#{name}"


class Cause(t.NamedTuple):
    id: str
    meaning: str
    remedy: str
    evidence: str
    # variables of the role vllm, and the values with which the start should succeed; empty where none can be computed
    change: t.Mapping[str, float | int] = {}

    @property
    def link(self) -> str:
        return link(self.id)


class Match(t.NamedTuple):
    """A signature that was found, with the line that showed it."""

    signature: Signature
    groups: dict[str, str]
    evidence: str


@dataclass
class LogState:
    phase: str = "container"
    version: str | None = None
    max_model_len: int | None = None
    shards_done: int | None = None
    shards_total: int | None = None
    weights_gib: float | None = None
    compile_seconds: float | None = None
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    capture_done: int | None = None
    capture_total: int | None = None
    capture_seconds: float | None = None
    ready: bool = False
    shutdown: str = ""  # line with which a ready server began to end
    specific: Match | None = None  # first line that names a cause
    wrapper: Match | None = None  # first line that says only that something failed
    hint: Match | None = None  # last line that says what this phase waits for
    exception: str | None = None  # first line that looks like an exception, known or not
    last_line: str = ""
    lines: int = 0

    @property
    def failed(self) -> bool:
        """The log alone proves that this start is over. What a ready server logs proves nothing: ask its API."""
        if self.ready:
            return False
        return self.wrapper is not None or (self.specific is not None and self.specific.signature.kind == "fatal")

    @property
    def cause(self) -> Cause | None:
        """The best explanation the log has, whether or not the start is over."""
        if self.specific:
            return explain(self.specific)
        if self.hint and self.hint.signature.kind == "retry" and (self.wrapper or self.exception):
            return explain(self.hint)
        if self.wrapper and self.wrapper.signature.id == "engine_init_generic" and self.exception:
            return explain(self.wrapper._replace(evidence=self.exception))
        if self.wrapper:
            return explain(self.wrapper)
        return condition("unknown_exception", self.exception) if self.exception else None


def mask(text: str, *secrets: str | None) -> str:
    """Take Hugging Face tokens, passwords and signatures in addresses, and the given secrets out of a text."""
    text = _SIGNED.sub("?***", _PASSWORD.sub("://***@", _TOKEN.sub("hf_***", text)))
    return hide(text, *secrets)


def hide(text: str, *secrets: str | None) -> str:
    for secret in secrets:
        if secret and len(secret) >= 4:  # a shorter one would tear words apart
            text = text.replace(secret, "***")
    return text


def shorten(text: str) -> str:
    return text if len(text) <= MAX_EVIDENCE else text[: MAX_EVIDENCE - 1] + "…"


def clean(text: str) -> str:
    """A log as plain lines: no colours, progress bars line by line, no middle if it is huge."""
    if len(text) > 2 * MAX_TEXT:
        text = text[:MAX_TEXT] + "\n" + text[-MAX_TEXT:]
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    return text.replace("\r", "\n")


def _number(text: str) -> int:
    return int(text.replace(",", ""))


# literal that must be in the line, pattern, fields of LogState that its groups fill, their types
_Fact = tuple[str, t.Pattern[str], tuple[tuple[str, t.Callable[[str], t.Any]], ...]]
_FACTS: tuple[_Fact, ...] = (
    ("Using max model len", re.compile(r"Using max model len (\d{1,12})"), (("max_model_len", int),)),
    (
        "odel loading took",
        re.compile(r"odel loading took (\d{1,6}(?:\.\d{1,6})?) GiB"),
        (("weights_gib", float),),
    ),
    (
        "torch.compile t",
        re.compile(r"torch\.compile (?:takes|took) (\d{1,9}(?:\.\d{1,6})?) s in total"),
        (("compile_seconds", float),),
    ),
    (
        "(compilation: ",
        re.compile(r"\(compilation: (\d{1,9}(?:\.\d{1,6})?) ?s"),
        (("compile_seconds", float),),
    ),
    (
        "KV cache size",
        re.compile(r"KV cache size: ([\d,]{1,20}) tokens"),
        (("kv_cache_tokens", _number),),
    ),
    (
        "Maximum concurrency",
        re.compile(r"Maximum concurrency for [\d,]{1,20} tokens per request: (\d{1,9}(?:\.\d{1,6})?)x"),
        (("max_concurrency", float),),
    ),
    (
        "Graph capturing finished",
        re.compile(r"Graph capturing finished in (\d{1,9}(?:\.\d{1,6})?) secs"),
        (("capture_seconds", float),),
    ),
)
_BARS: tuple[_Fact, ...] = (
    (
        "% Completed",
        re.compile(r"Loading [\w ]{1,60}:\s{1,8}\d{1,3}% Completed \| (\d{1,6})/(\d{1,6})"),
        (("shards_done", int), ("shards_total", int)),
    ),
    (
        "Capturing CUDA graphs",
        re.compile(r"Capturing CUDA graphs[^:]{0,60}:\s{1,8}\d{1,3}%\|[^|]{0,80}\| ?(\d{1,6})/(\d{1,6})"),
        (("capture_done", int), ("capture_total", int)),
    ),
)
_VERSIONS = (
    re.compile(r"vLLM API server version (\S{1,80})"),
    re.compile(r"█.{0,20} version (\S{1,80})$"),
)
_PHASE_MARKS: tuple[tuple[str, str], ...] = (
    ("Starting to load model", "load"),
    ("Using model weights format", "load"),
    ("% Completed", "load"),
    ("odel loading took", "load"),
    ("Warming up model for the compilation", "compile"),
    ("torch.compile", "compile"),
    ("Dynamo bytecode transform", "compile"),
    ("graph for dynamic shape", "compile"),
    ("compiled graph", "compile"),
    ("Compiling a graph", "compile"),
    ("Available KV cache memory", "kv_cache"),
    ("KV cache size", "kv_cache"),
    ("Profiling CUDA graph memory", "kv_cache"),
    ("Capturing CUDA graphs", "capture"),
    ("Graph capturing finished", "capture"),
    ("init engine (", "server"),
    ("Starting vLLM ", "server"),
)
_RANK = {phase: rank for rank, phase in enumerate(PHASES)}
_LITERALS = tuple(
    (literal, re.compile(signature.pattern, re.IGNORECASE), signature)
    for signature in SIGNATURES
    for literal in signature.literals
)
_SLOTS = {"wrapper": "wrapper", "hint": "hint", "retry": "hint"}  # of LogState; else it is specific
_HINT_LITERALS = tuple(entry for entry in _LITERALS if _SLOTS.get(entry[2].kind) == "hint")
_HARMLESS = tuple(literal for entry in HARMLESS for literal in entry.literals)


def parse(text: str) -> LogState:
    """Read the log of one attempt. Of several attempts in one text only the last one counts."""
    state = LogState()
    in_frame = False  # inside a traceback's frame: source code, which may quote any error message
    for raw in clean(text).split("\n"):
        line = raw[:MAX_LINE].rstrip()
        if not line:
            continue
        prefix = _PREFIX.match(line)
        start = prefix.end() if prefix else 0
        level = prefix.group(1) if prefix else None
        message = line[start:] if start else line
        version = _version(message) if "version " in message and (level == "INFO" or level is None) else None
        if version:
            if state.version is not None:  # a second banner: another attempt begins
                state = LogState(lines=state.lines)
            state.version = version
        state.lines += 1
        state.last_line = line.strip()
        if level in ("INFO", "DEBUG"):
            _read_progress(state, message)
        elif level == "WARNING" and prefix and prefix.group(2):  # a banner's warning has no date
            _find(state, message, _HINT_LITERALS)
        else:
            in_frame = message.startswith('  File "') or (in_frame and message.startswith("    "))
            if in_frame:
                continue
            if "% Completed" in message or "Capturing CUDA graphs" in message:
                _read_bar(state, message)
            _read_failure(state, message)
    state.last_line = shorten(mask(state.last_line))
    return state


def _version(message: str) -> str | None:
    for pattern in _VERSIONS:
        found = pattern.search(message)
        if found:
            return found.group(1)
    return None


def _advance(state: LogState, message: str) -> None:
    for literal, phase in _PHASE_MARKS:
        if literal in message and _RANK[phase] > _RANK[state.phase]:
            state.phase, state.hint = phase, None


def _fill(state: LogState, message: str, facts: tuple[_Fact, ...]) -> None:
    for literal, pattern, fields in facts:
        if literal in message:
            found = pattern.search(message)
            if found:
                for (name, kind), value in zip(fields, found.groups()):
                    setattr(state, name, kind(value))


def _read_progress(state: LogState, message: str) -> None:
    if message.startswith("Application startup complete"):
        state.phase, state.ready = "ready", True
        # It survived whatever was logged before.
        state.specific = state.wrapper = state.exception = state.hint = None
        return
    if state.ready:  # from here on it is requests, until the end
        if not state.shutdown and ("shutdown triggered" in message or message.startswith("Shutting down")):
            state.shutdown = shorten(mask(message.strip()))
        return
    _advance(state, message)
    _fill(state, message, _FACTS)
    if "Capturing CUDA graphs" in message:
        _fill(state, message, _BARS)


def _read_bar(state: LogState, message: str) -> None:
    if not state.ready:
        _advance(state, message)
        _fill(state, message, _BARS)


def _read_failure(state: LogState, message: str) -> None:
    if state.shutdown:  # a server that was told to stop may miss its engine for a moment
        return
    if state.exception is None and _EXCEPTION.match(message):
        state.exception = shorten(mask(message.strip()))
    elif state.exception and state.exception.endswith(":"):  # its text begins in the next line
        state.exception = shorten(f"{state.exception} {mask(message.strip())}")
    _find(state, message, _HINT_LITERALS if state.specific and state.wrapper else _LITERALS)


def _find(state: LogState, message: str, entries: t.Iterable[tuple[str, t.Pattern[str], Signature]]) -> None:
    """Remember the first line of each sort that a signature matches, and the last hint."""
    low = message.lower()
    for literal, pattern, signature in entries:
        if literal not in low:
            continue
        slot = _SLOTS.get(signature.kind, "specific")
        if slot != "hint" and getattr(state, slot) is not None:
            continue
        if (
            state.ready and signature.kind == "exit"
        ):  # of a request; it is survived, and forgotten for long when the end comes
            continue
        found = pattern.search(message)
        if found is None or (slot != "hint" and any(harmless in low for harmless in _HARMLESS)):
            continue
        groups = {name: mask(value) for name, value in found.groupdict().items() if value is not None}
        setattr(state, slot, Match(signature, groups, shorten(mask(message.strip()))))


# --- from a match to words -------------------------------------------------------------------------------------


def _utilization(groups: t.Mapping[str, str]) -> dict[str, float]:
    free, total = float(groups["free"]), float(groups["total"])
    # one GiB stays free: other processes breathe too
    fits = math.floor((free - 1) / total * 100) / 100 if total else 0.0
    return {"vllm_gpu_memory_utilization": fits} if fits >= LEAST_UTILIZATION else {}


def _model_len(groups: t.Mapping[str, str]) -> dict[str, int]:
    estimate = int(groups["estimate"])
    return {"vllm_max_model_len": estimate} if estimate >= LEAST_CONTEXT else {}


# How a cause can be computed away, and what to say where it cannot.
_CHANGES: dict[str, tuple[t.Callable[[t.Mapping[str, str]], dict[str, t.Any]], str]] = {
    "mem_free_below_util": (_utilization, "what fits after stopping what uses the memory"),
    "kv_too_small": (_model_len, "less than {length}"),
}


class _Words(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def explain(match: Match) -> Cause:
    """Put the numbers of the line into the words of its signature."""
    signature = match.signature
    words, change = _Words(match.groups), dict[str, t.Any]()
    if signature.id in _CHANGES:
        compute, otherwise = _CHANGES[signature.id]
        with contextlib.suppress(KeyError, ValueError):  # the line was torn before its numbers
            change = compute(match.groups)
        words["suggested"] = next((f"{value}" for value in change.values()), otherwise.format_map(words))
    meaning, remedy = signature.meaning.format_map(words), signature.remedy.format_map(words)
    return Cause(signature.id, meaning, remedy, match.evidence, change)


_CONDITIONS = {entry.id: entry for entry in CONDITIONS}


def condition(name: str, evidence: str | None = None) -> Cause:
    """A cause that shows in what is around the server, not in its log."""
    entry = _CONDITIONS[name]
    return Cause(entry.id, entry.meaning, entry.remedy, shorten(mask(evidence or "")))


def recognize(text: str) -> Cause | None:
    """The cause that a short message (of Docker, of systemd) names, if it is a known one."""
    return explain(found) if (found := parse(text).specific) else None
