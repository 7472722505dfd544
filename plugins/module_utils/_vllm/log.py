# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the log of one attempt to start vLLM says: how far it got, and what went wrong.

Pure text in, data out. Of a huge text only the beginning and the end are read, of a long line only the beginning.
Wordings are those of vLLM 0.10.1.1 to 0.32.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._causes import causes
from .._causes.causes import Cause, Match
from .._causes.signatures import FEATURES
from .._causes.text import mask, shorten
from .._outside.values import whole
from .lines import MAX_LINE, Line, clean, read, undressed
from .root import choose
from .tracebacks import Problem, Tracebacks

# In the order in which a start passes them; "download" is not in vLLM's log and comes from the cache's growth.
PHASES = ("container", "download", "load", "compile", "kv_cache", "capture", "server", "ready")
MAX_FOUND = 80  # lines that match a signature

# The API server was told to stop; an engine that fails is stopped too, but then it has logged why.
_STOP = re.compile(
    r"shutdown triggered|received signal=SIG(?:TERM|INT)|[Rr]eceived (?:SIGTERM|SIGINT|signal (?:15|2)\b)"
    r"|^Shutting down|^Gracefully stopping|^terminated\b|^Shutdown initiated \(timeout="
)
# It may be the API server that ends the engine, and prints why only after that.
_ENGINE = re.compile(r"EngineCore")
ORDERED = (None, 0, 130, 143)  # exit codes of a server that an order to stop may have ended; None: not known

# What only a server that serves writes: the end of its start may be missing, where uvicorn's own log is off.
_ANSWERS = re.compile(r"\"(?:GET|POST|HEAD|PUT|DELETE|OPTIONS) /\S{0,300} HTTP/\d|Avg prompt throughput: ")
_ANSWERED = re.compile(r"\"POST /\S{0,300} HTTP/\d(?:\.\d)?\" 200 ")
_BY_A_REQUEST = ("grammar",)  # an engine may survive it; others may be answered while it dies of something else
# How it ends, where nothing of its start was seen (docker logs --tail). An engine may also die before it serves.
_ENDS = re.compile(
    r"EngineCore encountered a fatal|AsyncLLM output_handler failed|Shutting down|Waiting for application shutdown"
)


class Told(t.NamedTuple):
    """The engine began to end, and what the log had shown by then."""

    line: str
    found: list[Match]
    problems: list[Problem]


@dataclass
class LogState:
    phase: str = "container"
    version: str | None = None
    max_model_len: int | None = None
    shards_done: int | None = None
    shards_total: int | None = None
    weights_gib: float | None = None
    nccl_network: str | None = None  # how NCCL connects hosts: IB, Socket
    compile_seconds: float | None = None
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    request_tokens: int | None = None  # the context that max_concurrency is told for
    capture_done: int | None = None
    capture_total: int | None = None
    capture_seconds: float | None = None
    uses: set[str] = field(default_factory=set)  # optional parts of vLLM that are switched on
    headless: bool = False
    warms: bool = True  # its kernels, as the last step of the start
    ready: bool = False
    shutdown: str = ""  # line with which the server began to end because it was told to
    engine_told: Told | None = None  # the same of the engine, where nothing that follows tells another reason
    problems: list[Problem] = field(default_factory=list)  # exceptions, in order
    answers: int = 0  # requests that were answered well
    found: list[Match] = field(default_factory=list)  # lines outside of exceptions that match a signature
    unfinished: str = ""  # what is said of an option, and goes on in the next line
    hint: Match | None = None  # last line that says what this phase waits for
    wait: Match | None = None  # the same, but worth a word only if nothing moves for long
    last_line: str = ""
    lines: int = 0

    @property
    def start_is_cut_off(self) -> bool:
        """Nothing of a start was seen."""
        return self.version is None and self.phase == "container"

    @property
    def stands_at(self) -> Match | None:
        """What this phase waits for; a line that names a fault of the same kind says more."""
        waits = self.hint or self.wait
        lines = [line for line in self.found if waits and line.signature.family == waits.signature.family]
        return next((line for line in lines if not line.signature.generic), waits)

    @property
    def failed(self) -> bool:
        """The log alone proves that this start is over. What a ready server logs proves nothing: ask its API."""
        return not self.ready and choose(self).over

    @property
    def known(self) -> bool:
        """A signature explains the end, and needs no other proof."""
        return choose(self).known

    @property
    def died(self) -> bool:
        """A ready server has lost its engine, and was not told to stop."""
        return self.ready and choose(self).over

    def order(self, exit_code: int | None = None) -> str:
        """The line that shows that an order ended the server; empty if something else did, or nothing."""
        if self.died:
            return ""
        if self.engine_told and (self.shutdown or exit_code in ORDERED):
            return self.engine_told.line
        return self.shutdown

    @property
    def cause(self) -> Cause | None:
        """The best explanation the log has, whether or not the start is over."""
        return choose(self).cause


def _number(text: str) -> int | None:
    return whole(text.replace(",", ""))


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
        re.compile(r"Maximum concurrency for ([\d,]{1,20}) tokens per request: (\d{1,9}(?:\.\d{1,6})?)x"),
        (("request_tokens", _number), ("max_concurrency", float)),
    ),
    (
        "Graph capturing finished",
        re.compile(r"Graph capturing finished in (\d{1,9}(?:\.\d{1,6})?) secs"),
        (("capture_seconds", float),),
    ),
)
# What vLLM says of its own options, at the start and where the engine fails. A prompt may quote any of it.
_OPTIONS = re.compile(r"non-default args: |[\w ]{1,60} LLM engine \(v\S{1,80}\) with config: ")
_USES: tuple[tuple[str, t.Pattern[str]], ...] = tuple(
    (entry.name, re.compile(entry.used)) for entry in FEATURES if entry.used
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
# NCCL writes without the form of vLLM's lines, and only with NCCL_DEBUG=INFO.
_NCCL: tuple[_Fact, ...] = (
    ("NCCL INFO Using", re.compile(r"NCCL INFO Using network (\w{1,20})"), (("nccl_network", str),)),
)
# A rank without an API: it says so instead of a banner, and nothing more while it serves.
_HEADLESS = re.compile(r"Launching vLLM \(v(\S{1,80})\) headless")
_WARM = "Kernel JIT monitor activated"  # the last step of a rank's start, since 0.24
# Without CUDA graphs vLLM 0.32 leaves that step out; a rank then says nothing after it has its KV cache.
_NOT_WARMED = re.compile(r"Enforce eager set, disabling .{1,80}JIT kernel warmup")
_HAS_CACHE = re.compile(r"Available KV cache memory: |Initial free memory .{1,60} for KV Cache")
# An error that says itself that it was survived.
_WENT_ON = re.compile(
    r"[Ff]all(?:ing|s)? ?back|[Ii]gnoring|ignored in |will be ignored|[Ss]kipping|not (?:critical|fatal)"
)
# pydantic tells in indented lines what is wrong with the value of an option.
_UNFINISHED = re.compile(r": error: argument .{1,200} validation errors? for \w+(?: [\w.]+)?$")
_CODE = re.compile(r"\s{4,}(?:raise|return|assert|yield|await|if|elif) ")
_CPP_FRAME = re.compile(r"frame #\d{1,3}: ")  # where C++ was: names of code, which tell no failure
_VERSIONS = (
    _HEADLESS,
    re.compile(r"vLLM API server version (\S{1,80})"),
    re.compile(r"[ ▀▄█]{1,40} version (\S{1,80})$"),
)
# A line of one request, with enable_log_requests or enable_log_outputs: it may quote anything.
_OF_A_REQUEST = re.compile(r"Received request[ :]|Request \S{1,80} details: |Generated response ")
_RAY_RUNS = "-- Ray runtime started"
_PHASE_MARKS: tuple[tuple[str, str], ...] = (
    (_RAY_RUNS, "load"),  # a worker of it has met its head, and shows nothing of vLLM
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


def parse(text: str) -> LogState:
    """Read the log of one attempt. Of several attempts in one text only the last one counts."""
    state, traces = LogState(), Tracebacks()
    before = ""
    for raw in undressed(clean(text)).split("\n"):
        line = raw[:MAX_LINE].rstrip()
        if not line:
            traces.blank()
            continue
        if line == before:  # a collector that takes a line from two places
            state.lines += 1
            continue
        before = line
        entry = read(line)
        message, level = entry.message, entry.level
        if _CPP_FRAME.match(message):
            continue
        if level in ("INFO", "DEBUG") and _OF_A_REQUEST.match(message):
            state.lines, state.last_line = state.lines + 1, line
            continue
        names_it = "version " in message or "headless" in message
        version = _version(message) if names_it and (level == "INFO" or level is None) else None
        if version:
            # Another attempt begins: a second banner, or one after the last lines of a server that was told to stop.
            if state.version is not None or state.shutdown or state.engine_told:
                state, traces = LogState(lines=state.lines), Tracebacks()
            state.version = version
            state.headless = _HEADLESS.match(message) is not None
        state.lines += 1
        state.last_line = line
        if not state.ready:
            _find_service(state, traces, message)
        if _OPTIONS.match(message):
            state.uses |= {name for name, pattern in _USES if pattern.search(message)}
        if level in ("INFO", "DEBUG"):
            _read_progress(state, traces, entry)
        elif level == "WARNING" and entry.dated:  # a banner's warning has no date
            _find_hint(state, message)
            state.warms = state.warms and not _NOT_WARMED.match(message)
        elif state.shutdown:  # a server that was told to stop may miss its engine for a moment
            continue
        elif not traces.feed(entry, state.ready, state.phase):
            _read_plain(state, entry)
    state.problems, state.answers = traces.problems, traces.answers
    _weigh_order(state)
    state.last_line = shorten(mask(state.last_line.strip()))
    state.kv_cache_tokens = _tokens(state)
    return state


def _tokens(state: LogState) -> int | None:
    """Size of the KV cache as requests x context: before 0.21 vLLM divides it by the number of groups of layers."""
    if not (state.kv_cache_tokens and state.max_concurrency and state.request_tokens):
        return state.kv_cache_tokens
    told = state.max_concurrency * state.request_tokens
    rounding = 0.006 * state.request_tokens + 1  # of the concurrency, which has two digits
    return state.kv_cache_tokens if abs(told - state.kv_cache_tokens) <= rounding else round(told)


def _version(message: str) -> str | None:
    for pattern in _VERSIONS:
        found = pattern.match(message)
        if found:
            return found.group(1)
    return None


def _advance(state: LogState, message: str) -> None:
    for literal, phase in _PHASE_MARKS:
        if literal in message and _RANK[phase] > _RANK[state.phase]:
            state.phase, state.hint, state.wait = phase, None, None


def _fill(state: LogState, message: str, facts: tuple[_Fact, ...]) -> None:
    for literal, pattern, fields in facts:
        if literal in message:
            found = pattern.search(message)
            if found:
                for (name, kind), value in zip(fields, found.groups()):
                    setattr(state, name, kind(value))


def _find_service(state: LogState, traces: Tracebacks, message: str) -> None:
    """A server that serves, of which no line says that its start is complete."""
    if state.phase == "server" and _ANSWERS.search(message):
        _started(state, traces)
    elif state.start_is_cut_off and (_ANSWERS.search(message) or _ENDS.match(message)):
        state.phase, state.ready, state.hint, state.wait = "ready", True, None, None


def _started(state: LogState, traces: Tracebacks) -> None:
    """It survived whatever was logged before."""
    state.phase, state.ready = "ready", True
    state.found, state.hint, state.wait = [], None, None
    traces.forget()


def _read_progress(state: LogState, traces: Tracebacks, line: Line) -> None:
    message = line.message
    if message.startswith("Application startup complete") or (state.headless and _is_last_step(state, message)):
        _started(state, traces)
        state.shutdown, state.engine_told = "", None
        return
    if not state.shutdown and ("hut" in message or "eceived" in message) and _STOP.search(message):
        _find_order(state, traces, line)
    if state.ready:  # from here on it is requests, until the end
        if '" 200' in message and _ANSWERED.search(message):  # the engine got over what a request did to it
            traces.answers += 1
            state.found = [match for match in state.found if match.signature.id not in _BY_A_REQUEST]
        return
    _advance(state, message)
    _fill(state, message, _FACTS)
    if "Capturing CUDA graphs" in message:
        _fill(state, message, _BARS)
    _find_hint(state, message)


def _is_last_step(state: LogState, message: str) -> bool:
    return message.startswith(_WARM) or (not state.warms and _HAS_CACHE.match(message) is not None)


def _find_order(state: LogState, traces: Tracebacks, line: Line) -> None:
    if not state.ready and (traces.problems or state.found):  # it ends because of those
        return
    said = shorten(mask(line.message.strip()))
    if not _ENGINE.search(line.process or line.message):
        state.shutdown = said
    elif state.engine_told is None:
        state.engine_told = Told(said, list(state.found), traces.problems)


def _weigh_order(state: LogState) -> None:
    """What was logged after the engine began to end follows from the order, or else is the reason."""
    told = state.engine_told
    if told and state.shutdown:
        state.found, state.problems = told.found, told.problems
    elif told and (len(state.found) > len(told.found) or not _end_alike(state.problems, told.problems)):
        state.engine_told = None


def _end_alike(now: list[Problem], before: list[Problem]) -> bool:
    """Whether no exception has come since; of many, those in the middle are not kept."""
    return not now or (bool(before) and now[-1] is before[-1])


def _read_plain(state: LogState, line: Line) -> None:
    message = line.message
    if state.unfinished and message.startswith("  "):
        message = f"{state.unfinished} {message.strip()}"
        del state.found[-1:]
    state.unfinished = message if _UNFINISHED.search(message) else ""
    if line.level is not None and _CODE.match(message):  # of a trace whose beginning is cut off
        return
    if not state.ready and any(mark in message for mark in ("% Completed", "Capturing CUDA graphs", _RAY_RUNS)):
        _advance(state, message)
        _fill(state, message, _BARS)
    _fill(state, message, _NCCL)
    # NCCL goes on after what it calls INFO, such as a symbol that an older library lacks. PyTorch tries a connection
    # again for minutes, whatever the level of its lines; in the end it raises an exception.
    if len(state.found) >= MAX_FOUND or "NCCL INFO" in message or message.startswith("[c10d]"):
        _find_hint(state, message)
        return
    went_on = line.level is not None and _WENT_ON.search(message)
    for match in causes.find(message):
        if match.signature.kind in ("hint", "retry"):
            state.hint = match
        elif match.signature.kind == "wait":
            state.wait = match
        elif went_on and match.signature.kind != "wrapper":
            continue
        # of a request; it is survived, and forgotten for long when the end comes. Between hosts there are no requests.
        elif not (state.ready and match.signature.kind == "exit" and match.signature.family != "network"):
            state.found.append(match)


def _find_hint(state: LogState, message: str) -> None:
    if state.ready and not state.headless:
        return
    for match in causes.find(message, causes.HINTS):
        if match.signature.kind == "wait":
            state.wait = match
        else:
            state.hint = match


def recognize(text: str) -> Cause | None:
    """The cause that the journal of a unit names, if it is a known one."""
    state = parse(text)
    found = choose(state)
    return found.cause if found.cause is not None and found.cause.certain else None
