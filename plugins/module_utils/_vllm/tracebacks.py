# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exceptions of a log, read as such: which process, in which order, chained from what, raised where."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .lines import Line

MAX_FRAMES = 80  # of one traceback; the last ones are kept
MAX_LINES = 40  # of the text of one exception
MAX_KEPT = 60  # exceptions at either end of a log

_HEADER = re.compile(r"\s*(?:Exception Group )?Traceback \(most recent call last\):")
# Without the comma it belongs to no exception: faulthandler prints its frames so when a signal ends the process.
_FRAME = re.compile(r'\s*File "([^"]{1,300})", line \d+(?!\d| in )(?:, in (.{1,120}))?')
_RAISED = re.compile(r"([A-Za-z_][\w.]*(?:\([A-Za-z_]\w*\))?)(?:: ?|$)")
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)(?:\([A-Za-z_]\w*\))?(?::|$)")
_CHAINS = {
    "The above exception was the direct cause of the following exception:": True,
    "During handling of the above exception, another exception occurred:": False,
}
# The inner exception is in the next line: "BackendCompilerFailed: backend='inductor' raised:".
_ANNOUNCES = re.compile(r": .*\S:\s*$")
_TRACED = re.compile(r": got (\w+\([^\n]{1,200})")  # the exception that PyTorch met while it traced the model
# What is listed the other way round, of a process that hangs for example, ends with no exception either.
_LAST_FIRST = re.compile(r"most recent call first|^(?:Current )?[Tt]hread 0x")
# C++ has no traceback: its runtime names the class, the next line is the text, and the process ends.
_TERMINATE = re.compile(r"terminate called after throwing an instance of '([\w:.]{1,120})'|libc\+\+abi: terminating")
# A traceback that another process has printed follows in the text: "Error raised in subprocess:".
_RELAYS = re.compile(r"(?::|\"{3}|'{3})\s*$")
# What another program wrote is no continuation of an exception's text.
_FOREIGN = re.compile(r"\S{1,80}:\d+:\d+ \[\d+\] |\[20\d\d-|Loading \w|Capturing CUDA|Process \S{1,60}:$")
# Printed by a thread or a finalizer, which ends no process: what follows its first line may be of any other.
_ASIDE = re.compile(r"Exception (?:in thread|ignored in) ")
_COMPILERS = re.compile(r"/tmp/|ptxas|nvcc|ninja")  # foreign too, unless vLLM has put the name of its process before it


@dataclass
class Problem:
    """One exception."""

    process: str
    level: str | None  # of the log record that holds it; None: the interpreter printed it
    header: str = field(default="", repr=False)  # what the same process wrote before it
    name: str = ""  # class, with its module
    lines: list[str] = field(default_factory=list, repr=False)  # of its text, not masked; the class comes first
    frames: list[str] = field(default_factory=list, repr=False)  # "path:function: source", the innermost last
    chained: Problem | None = None  # the exception before it in the same chain
    direct: bool = False  # raised from that one, not while it was handled
    ready: bool = False  # the server was ready by then
    phase: str = ""
    answers: int = 0  # requests that were answered well by then

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def where(self) -> str:
        return "\n".join(self.frames)

    @property
    def evidence(self) -> str:
        """Class and message in one line; of a message that begins in the next line, that line too."""
        first = self.lines[0].strip() if self.lines else self.name
        if first.endswith(":") and len(self.lines) > 1:
            first = f"{first} {self.lines[1].strip()}"
        traced = _TRACED.search(self.text) if self.name.endswith("TorchRuntimeError") else None
        first += f": {traced.group(1)}" if traced else ""
        return " ".join(first.split())

    def chain(self) -> list[Problem]:
        """The exceptions of one chain in the order in which they explain the failure.

        Of those that were raised from each other the first one is the cause; what was raised while another one was
        handled replaces it.
        """
        segments: list[list[Problem]] = [[]]
        current: Problem | None = self
        while current is not None and sum(map(len, segments)) < MAX_KEPT:
            segments[-1].insert(0, current)
            if current.chained is not None and not current.direct:
                segments.append([])
            current = current.chained
        return [problem for segment in segments for problem in segment]


@dataclass
class _Open:
    """What a process is writing."""

    problem: Problem | None = None
    origin: str = ""
    source_next: bool = False
    indented: bool = False  # the last frame; its source, which may be missing, is too
    header: str = ""
    last: Problem | None = None  # the exception that ended last
    chain: bool | None = None  # what the next traceback is to the last exception


class Tracebacks:
    """Collects the exceptions while the lines of a log go by."""

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.latest: list[Problem] = []
        self._open: dict[str, _Open] = {}
        self.answers = 0

    @property
    def problems(self) -> list[Problem]:
        return [*self.first, *self.latest]

    def forget(self) -> None:
        """The process survived all of it."""
        self.first, self.latest = [], []
        self._open = {}

    def blank(self) -> None:
        """An empty line ends what the interpreter printed."""
        state = self._open.get("")
        if state is not None and state.problem is not None and state.problem.lines:
            self._close(state)

    def feed(self, line: Line, ready: bool, phase: str) -> bool:
        """Take one line; True if it belongs to an exception, frames and source included."""
        state = self._open.get(line.process)
        if state is None:
            state = self._open[line.process] = _Open()
            if len(self._open) > 4 * MAX_KEPT:  # processes of a broken log; keep the memory bounded
                self._open = {line.process: state}
        message = line.message
        problem = state.problem
        frame = problem is None and _FRAME.match(message)
        if frame and state.last is None and not _LAST_FIRST.search(state.header):
            self._begin(state, line, ready, phase)  # its header was cut off with the beginning of the log
            problem = state.problem
        if _HEADER.match(message):
            if problem is not None and self._quotes(state, problem, line):
                return True
            self._begin(state, line, ready, phase)
            return True
        if problem is not None and not problem.lines:
            if line.level is not None and line.level != problem.level:
                return False  # of another thread
            return self._frames(state, problem, message)
        stripped = message.strip()
        if stripped in _CHAINS:
            self._close(state)
            state.chain = _CHAINS[stripped]
            return True
        if problem is not None:
            if self._continues(state, problem, line):
                return True
            self._close(state)
        ended = _TERMINATE.match(message)
        if _EXCEPTION.match(message) or ended:
            chained, direct = (state.last, bool(state.chain)) if state.chain is not None else (None, False)
            state.chain = None
            problem = Problem(line.process, line.level, state.header, ready=ready, phase=phase)
            problem.chained, problem.direct = chained, direct
            state.problem, state.origin = problem, line.origin
            self._text(problem, f"{ended.group(1) or 'std::exception'}:" if ended else message)
            problem.header = stripped if ended else problem.header
            self._keep(problem)
            return True
        if stripped and not frame:
            state.header = stripped[:300]
        return False

    def _begin(self, state: _Open, line: Line, ready: bool, phase: str) -> None:
        self._close(state)
        problem = Problem(line.process, line.level, state.header, ready=ready, phase=phase)
        if state.chain is not None:
            problem.chained, problem.direct = state.last, state.chain
            problem.header = state.last.header if state.last else problem.header
        state.chain, state.header = None, ""
        state.problem, state.origin, state.source_next = problem, line.origin, False

    def _frames(self, state: _Open, problem: Problem, message: str) -> bool:
        """Inside a traceback, before its exception: frames and source code, which may quote any error message."""
        frame = _FRAME.match(message)
        if frame:
            problem.frames.append(f"{frame.group(1)}:{frame.group(2) or ''}: ")
            del problem.frames[:-MAX_FRAMES]
            state.source_next, state.indented = True, message.startswith(" ")
            return True
        if _FOREIGN.match(message):  # NCCL writes host:pid:…, as an exception begins with its class
            return False
        raised = _RAISED.match(message)
        if raised and (not state.source_next or state.indented or _EXCEPTION.match(message)):  # it is not indented
            problem.name = raised.group(1)
            self._text(problem, message)
            if message.strip() == "AssertionError":  # what it says is what was asserted
                asserted = re.search(r": (assert\b.*[^\s(\\])$", problem.frames[-1] if problem.frames else "")
                problem.lines[0] += f": {asserted.group(1)}" if asserted else ""
            self._keep(problem)
            return True
        if not message.strip() and not problem.frames:
            state.problem = None  # a header that is quoted somewhere
            return False
        if state.source_next and problem.frames:
            problem.frames[-1] += message.strip()[:200]
        state.source_next = False
        return True

    def _text(self, problem: Problem, message: str) -> None:
        raised = _RAISED.match(message)
        problem.name = raised.group(1) if raised else ""
        problem.lines.append(message.rstrip())

    def _continues(self, state: _Open, problem: Problem, line: Line) -> bool:
        """Whether a line is more of the exception's text."""
        if line.level != problem.level or line.origin != state.origin or len(problem.lines) >= MAX_LINES:
            return False
        message = line.message
        if _FRAME.match(message):  # Ray quotes the traceback of another process in the text
            return self._frames(state, self._inner(state, problem, line), message)
        if not message.strip():
            return bool(line.level)
        if _EXCEPTION.match(message) and not _ANNOUNCES.search(problem.lines[-1]):
            return False
        if line.level is None and _ASIDE.match(problem.header):
            return False
        if line.level is None and not line.process and _COMPILERS.match(message):
            return False
        if line.level is None and (_FOREIGN.match(message) or "% Completed" in message or "%|" in message):
            return False
        problem.lines.append(message.rstrip())
        return True

    def _inner(self, state: _Open, problem: Problem, line: Line) -> Problem:
        """The exception of another process that the text of this one quotes: that one is its cause."""
        inner = Problem(line.process, line.level, problem.header, ready=problem.ready, phase=problem.phase)
        inner.chained, inner.direct = problem.chained, problem.direct
        problem.chained, problem.direct = inner, True
        state.last, state.problem, state.source_next = problem, inner, False
        return inner

    def _quotes(self, state: _Open, problem: Problem, line: Line) -> bool:
        """Whether a header belongs to a traceback in the text of the exception before it."""
        if not problem.lines or line.level != problem.level or line.origin != state.origin:
            return False
        if not _RELAYS.search(problem.lines[-1]):
            return False
        self._inner(state, problem, line)
        return True

    def _close(self, state: _Open) -> None:
        if state.problem is not None and state.problem.lines:
            state.last = state.problem
        state.problem = None

    def _keep(self, problem: Problem) -> None:
        problem.answers = self.answers
        if len(self.first) < MAX_KEPT:
            self.first.append(problem)
        else:
            self.latest.append(problem)
            if len(self.latest) > 2 * MAX_KEPT:
                del self.latest[:MAX_KEPT]


def every(problems: t.Iterable[Problem]) -> t.Iterator[Problem]:
    """The ends of all chains, in order: an exception that another one was raised from is not told again."""
    found = list(problems)
    inside = {id(problem.chained) for problem in found if problem.chained is not None}
    return (problem for problem in found if id(problem) not in inside)
