# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root cause of an end: by structure first, by wording after that.

An exception is what a process died of, or what it logged and survived, or what belongs to a request. Only what it died
of is examined: its signature, or else its family. Lines outside of exceptions explain an exception that is too general,
or stand for one where there is none.
"""

from __future__ import annotations

import re
import typing as t

from .._causes import causes, place
from .._causes.causes import Cause, Match
from .._causes.entries import Family
from .._causes.text import mask, shorten
from .tracebacks import Problem, every

if t.TYPE_CHECKING:
    from .log import LogState

# The process that logs this does not continue.
_FATAL = re.compile(
    r"(?:EngineCore|WorkerProc|Worker|Engine) (?:failed to start|hit an exception|encountered a fatal error)"
    r"|^terminate called|^libc\+\+abi: terminating"
    r"|^Process \S{1,80}:$|Error executing method|Application startup failed|Exception in worker",
    re.IGNORECASE,
)
_DEATH = re.compile(
    r"EngineCore encountered a fatal error|AsyncLLM output_handler failed|EngineDeadError"
    r"|^terminate called|^libc\+\+abi: terminating"
)
# What a rank does not get over: it goes on to wait for the head, which does not learn of it.
_BREAKS = ("driver", "kernel", "memory", "network")
_COLLECTIVE = re.compile(r"NCCL error|DistBackendError")
# What was logged and survived: by what stands before it, or by where it was raised.
_SURVIVED = re.compile(
    r"^Exception in thread |^Exception ignored in|[Ee]rror ignored in |never retrieved"
    r"|[Ff]all(?:ing)? ?back|[Ii]gnoring|will be ignored"
    r"|[Ss]kipping|[Rr]etrying(?! in [\d.]{1,9}s \[Retry )|not (?:critical|fatal)|^Exception in callback"
    r"|^Error in atexit|^--- Logging error"
)
_SURVIVED_FRAMES = re.compile(
    r"vllm/usage/|usage_lib|_report_usage|logging/__init__|resource_tracker|weakref\.py|atexit"
)
# The exception only says that another process failed.
_WRAPPER = re.compile(
    r"Engine core initialization failed|Engine process failed to start|EngineCore encountered an issue|EngineDeadError"
    r"|WorkerProc initialization failed|Worker failed with error|(?:stack ?trace|root cause)s? (?:above|for)"
    r"|See root cause"
    r"|Worker proc \S+ died|Executor failed|EngineGenerateError|AsyncEngineDeadError|MQEngineDeadError"
    r"|^(?:ray\.exceptions\.)?RayTaskError|failed to be inspected"
)
# What other processes raise when one of them has ended.
_CONSEQUENCE = re.compile(
    r"^(?:(?:\w+\.)*CancelledError|KeyboardInterrupt|SystemExit|GeneratorExit|BrokenPipeError|ConnectionResetError"
    r"|EOFError"
    r"|zmq\.(?:error\.)?(?:Again|ContextTerminated|ZMQError: (?!Address|Cannot assign|No such))"
    r"|(?:ray\.exceptions\.)?(?:RayActorError|ActorDiedError|ActorUnavailableError)"
    r"|asyncio\.exceptions\.IncompleteReadError)"
    r"|Connection (?:was likely )?closed by peer|Broken pipe|^RuntimeError: cancelled$"
)
# A process that was just started finds nothing of the one that started it.
_CONSEQUENCE_FRAMES = re.compile(r"multiprocessing/synchronize\.py:__setstate__")
_ENGINE = re.compile(r"^(?:EngineCore|\w*Worker|DPCoordinator|RayWorker|VllmWorker|rank\d)", re.IGNORECASE)
_ENGINE_FRAMES = re.compile(
    r"v1/(?:engine/core\.py|executor|worker)|multiproc_executor|worker_busy_loop|run_busy_loop|gpu_worker"
)
_REQUEST_FRAMES = re.compile(r"entrypoints/|starlette/|fastapi/|uvicorn/protocols|anyio/")
_REQUEST = re.compile(
    r"Exception in ASGI|Error (?:in|with) (?:preprocessing|model|request|applying)|[Rr]equest \S+ failed"
    r"|Error in (?:\w+ )?"
    r"(?:chat|completion|streaming)|preprocessing prompt",
)
# The line of a compiler's output that says why.
_BUILD_ERROR = re.compile(r"^.{0,300}\b(?:fatal|error)\b\s{0,4}: (?!subprocess|command).{1,300}", re.MULTILINE)
# A wrapper that quotes the exception of the other process.
_QUOTES = re.compile(r"Worker failed with error '(?P<text>[\s\S]{1,2000}?)'?,? please check the stack trace")
# Wrappers that tell more than that something failed, the most telling first.
_TELLING = (
    "engine_killed",
    "engine_terminated",
    "engine_crashed",
    "worker_killed",
    "engine_dead",
    "inspect_failed",
    "engine_init_generic",
)
_KILLED = _TELLING[:4]  # a process is gone: what the others raise only follows from it


# How sure it is that an exception ended the attempt: a process continued after it; it follows from the end of another
# process; it was logged; another process died of it, and quotes it; the interpreter printed it; a process of the engine
# died of it.
SURVIVED, CONSEQUENCE, LOGGED, QUOTED, PRINTED, DEADLY = range(6)


class Choice(t.NamedTuple):
    cause: Cause | None
    over: bool  # the log proves an end
    known: bool = False  # a signature that is fatal explains it


def choose(state: LogState) -> Choice:
    """The root cause that a log shows, and whether it proves that the attempt is over."""
    choice = _while_serving(state) if state.ready else _while_starting(state)
    return choice if choice.cause is None else choice._replace(cause=place.suspect(choice.cause, state.uses))


def _while_starting(state: LogState) -> Choice:
    lines = [match for match in state.found if match.signature.kind != "wrapper"]
    wrapped = _wrapper(state)
    candidates = [problem for problem in every(state.problems) if not _only_wraps(problem)]
    over = wrapped is not None
    stop = _stop(candidates)
    if stop and not lines:
        return Choice(causes.condition("stopped", _evidence(stop)), over)
    ranked = sorted((problem for problem in candidates if _strength(problem)), key=_strength, reverse=True)
    if wrapped and wrapped.signature.id in _KILLED and not lines and ranked and _strength(ranked[0]) <= CONSEQUENCE:
        return Choice(_told(wrapped), over)
    root = _original(ranked[0], ranked) if ranked else None
    match = _refine(lines, root) if root else None
    sure = True
    if root is not None and match is None and _family(root).family == "unknown":  # another one may say more
        other = next((other for other in ranked if _refine(lines, other)), root)
        sure, root = _strength(other) >= min(_strength(root), QUOTED), other
        match = _refine(lines, root)
    if root is not None and match is not None and not _is_weaker(match, lines, root):
        fatal = match.signature.kind == "fatal" and sure
        cause = _explain(match, root)
        return Choice(cause if sure else place.doubt(cause), over or (fatal and _is_proof(root)), fatal)
    line = _line(lines, root)
    if line is not None:
        fatal = line.signature.kind == "fatal"
        return Choice(causes.explain(line), over or fatal, fatal)
    hinted = state.hint is not None and state.hint.signature.kind == "retry" and (wrapped or candidates)
    if state.hint and hinted and (root is None or _family(root).family in ("unknown", "hub", "network")):
        return Choice(causes.explain(state.hint), over)
    return Choice(_net(root, candidates, wrapped), over)


def _explain(match: Match, root: Problem, when: str = "start") -> Cause:
    """A known cause; where an optional part of vLLM raised it, its remedy begins with leaving that out."""
    cause = causes.explain(match)
    line = _BUILD_ERROR.search(root.text) if match.signature.generic and cause.family == "compiler" else None
    cause = cause._replace(evidence=shorten(mask(" ".join(line.group().split())))) if line else cause
    part = place.feature(_root_of(root).frames or root.frames, when)
    if part is None or not part.optional or cause.family not in ("kernel", "compiler", "weights", "model", "engine"):
        return cause
    return cause._replace(remedy=place.advise(part, cause.remedy))


def _is_weaker(match: Match, lines: list[Match], root: Problem) -> bool:
    """A line that names a cause counts more than an exception that is only a general kind of failure, or that only
    follows from the end of another process.
    """
    named = [line.signature for line in lines if not line.signature.generic]
    if _strength(root) == CONSEQUENCE:
        return any(signature.kind == "fatal" for signature in named)
    return match.signature.generic and any(signature.family == match.signature.family for signature in named)


def _line(lines: list[Match], root: Problem | None) -> Match | None:
    """The line outside of exceptions that explains the end, if one does."""
    if not lines:
        return None
    if root is not None:
        family = _family(root).family
        lines = [
            line
            for line in lines
            if family == "unknown"
            or line.signature.family == family
            or (line.signature.kind == "fatal" and _strength(root) <= QUOTED)
        ]
    specific = [line for line in lines if not line.signature.generic]
    return next(iter(specific or lines), None)


def _net(root: Problem | None, candidates: list[Problem], wrapped: Match | None) -> Cause | None:
    """No signature knows it: the family, or what the wrapper says."""
    vague = wrapped is None or wrapped.signature.id == "engine_init_generic"
    if root is None and candidates and vague:
        root = candidates[0]  # it was survived, and is all there is
    if root is None or (not vague and _family(root).family == "unknown"):
        return _told(wrapped) if wrapped else None
    entry = _family(root)
    name = wrapped.signature.id if wrapped and entry.family == "unknown" else None
    return place.explain(entry, _evidence(root), _root_of(root).frames, name)


def _told(wrapped: Match) -> Cause:
    cause = causes.explain(wrapped)
    if cause.id == "engine_terminated":
        return causes.condition("stopped", cause.evidence)
    return cause._replace(certain=cause.id != "engine_init_generic")


def _while_serving(state: LogState) -> Choice:
    """Requests fail without an end, and an orderly end has no cause but the order."""
    problems = list(every(state.problems))
    wrapped = _wrapper(state)
    dead = wrapped is not None or any(_DEATH.search(problem.header) for problem in problems)
    mine = [problem for problem in problems if _is_of_the_engine(problem) and not _only_wraps(problem)]
    mine = [problem for problem in mine if not (_is_of_the_hub(problem) or _is_got_over(problem, state))]
    fatal = [match for match in state.found if match.signature.kind == "fatal"]
    if not dead:
        if state.shutdown:
            return Choice(None, False)
        lost = next((problem for problem in mine if _has_lost_its_group(problem)), None)
        if lost is not None:
            match = _refine(state.found, lost)
            return Choice(causes.explain(match) if match else _engine_fault(lost), True)
        known = (match for problem in mine if (match := _refine([], problem)) and match.signature.kind == "fatal")
        best = next(known, fatal[0] if fatal else None)
        broken = state.headless and best is not None and best.signature.family in _BREAKS
        return Choice(causes.explain(best) if best else None, broken)
    own = [problem for problem in mine if not _QUOTES.search(problem.text)] or mine
    own = [problem for problem in own if _strength(problem) > CONSEQUENCE] or own
    root = next((problem for problem in own if _DEATH.search(problem.header)), own[-1] if own else None)
    told = _told(wrapped) if wrapped and wrapped.signature.id in _KILLED and not fatal else None
    if told and all(_strength(problem) <= CONSEQUENCE for problem in own):
        return Choice(told, True)
    if root is not None:
        match = _refine(state.found, root)
        if match is not None and match.signature.kind != "wrapper":
            cause, sure = _explain(match, root, "serve"), _is_quoted(root, mine)
            return Choice(cause if sure else place.doubt(cause), True, sure and match.signature.kind == "fatal")
        return Choice(_engine_fault(root), True)
    if fatal:
        return Choice(causes.explain(fatal[0]), True, True)
    return Choice(_told(wrapped) if wrapped else None, True)


def _has_lost_its_group(problem: Problem) -> bool:
    """A step failed between the hosts. NCCL never connects a group anew, even where the engine does not learn of it."""
    return _strength(problem) == DEADLY and _COLLECTIVE.search(_root_of(problem).text) is not None


def _engine_fault(root: Problem) -> Cause:
    """The engine has served with these options and files, so it is none of those."""
    entry = _family(root)
    if entry.family in ("unknown", "option", "request", "model", "weights", "files", "hub", "image"):
        entry = place.family("vllm_fault")
    cause = place.explain(entry, _evidence(root), _root_of(root).frames, "engine_dead", "serve")
    return cause._replace(meaning=f"the engine died while it served: {cause.meaning}")


# --- which exception ---------------------------------------------------------------------------------------------


def _only_wraps(problem: Problem) -> bool:
    """Every exception of the chain says that another process failed."""
    return all(
        (_WRAPPER.search(one.name) or _WRAPPER.search(one.text)) and not _QUOTES.search(one.text)
        for one in problem.chain()
    )


def _strength(problem: Problem) -> int:
    """What it stands for, see the names below."""
    if _SURVIVED.search(problem.header) or _SURVIVED_FRAMES.search(problem.where):
        return SURVIVED
    if _CONSEQUENCE.search(problem.name) or _CONSEQUENCE.search(problem.text):
        return CONSEQUENCE
    if _CONSEQUENCE_FRAMES.search(problem.where) or _follows_an_end(problem):
        return CONSEQUENCE
    if _QUOTES.search(problem.text):
        return QUOTED
    if _FATAL.search(problem.header):
        return DEADLY
    return PRINTED if problem.frames and problem.level is None else LOGGED


def _original(root: Problem, others: list[Problem]) -> Problem:
    """What a quote is of, with its class and its frames."""
    quoted = _QUOTES.search(root.text) if _strength(root) == QUOTED else None
    if quoted is None:
        return root
    told = f": {quoted.group('text')}\n"
    return next((other for other in others if told in f"{other.text}\n" and not _QUOTES.search(other.text)), root)


def _is_quoted(root: Problem, others: list[Problem]) -> bool:
    """Whether what was only logged is what a worker died of, if one tells that by a quote."""
    quotes = [other for other in others if _strength(other) == QUOTED]
    return _strength(root) > LOGGED or not quotes or any(_original(quote, [root]) is root for quote in quotes)


def _follows_an_end(problem: Problem) -> bool:
    """Raised while the end of another process was handled, by what cleans up."""
    before = problem.chained
    return before is not None and not problem.direct and _only_wraps(before)


def _is_proof(problem: Problem) -> bool:
    """What is only logged as an error may be survived."""
    strength = _strength(problem)
    return strength >= PRINTED or (strength in (LOGGED, QUOTED) and problem.level is None)


def _stop(candidates: list[Problem]) -> Problem | None:
    """The order to stop, if it came before every failure. It is printed after what only follows from it."""
    stop = next((problem for problem in candidates if _is_stop(problem)), None)
    if stop is None or stop is candidates[0]:
        return stop
    return stop if all(_is_stop(problem) or _strength(problem) <= CONSEQUENCE for problem in candidates) else None


def _is_stop(problem: Problem) -> bool:
    return any(one.name == "KeyboardInterrupt" for one in problem.chain())


def _is_of_the_engine(problem: Problem) -> bool:
    """Not of a request: those are handled in the API server's process."""
    if _REQUEST.search(problem.header):
        return False
    if _ENGINE.search(problem.process) or _DEATH.search(problem.header) or _FATAL.search(problem.header):
        return True
    if problem.process or _SURVIVED.search(problem.header):
        return False
    if _ENGINE_FRAMES.search(problem.where):
        return True
    return not _REQUEST_FRAMES.search(problem.where)


def _is_of_the_hub(problem: Problem) -> bool:
    """A server that is ready has its files; what it fetches later, such as an image, is of a request."""
    match = _refine([], problem)
    return match is not None and match.signature.kind == "exit" and match.signature.family == "hub"


def _is_got_over(problem: Problem, state: LogState) -> bool:
    """The engine only logged it, and has served since: it was of a request, such as one that loads an adapter."""
    return problem.answers < state.answers and _strength(problem) <= LOGGED


def _members(problem: Problem) -> list[Problem]:
    """The exceptions of a chain that say something of their own."""
    found = []
    for one in problem.chain():
        quoted = _QUOTES.search(one.text)
        if quoted:
            lines = quoted.group("text").split("\n")
            name = re.match(r"[A-Za-z_][\w.]*Error\b", lines[0])
            found.append(Problem(one.process, one.level, name=name.group() if name else "", lines=lines))
        elif not (_WRAPPER.search(one.name) or _WRAPPER.search(one.text)):
            found.append(one)
    return found


def _root_of(problem: Problem) -> Problem:
    return _placed(problem)[1]


def _evidence(problem: Problem) -> str:
    return shorten(mask(_root_of(problem).evidence))


def _family(problem: Problem) -> Family:
    return _placed(problem)[0]


def _placed(problem: Problem) -> tuple[Family, Problem]:
    """The family of a chain, and the exception that tells it. A general one may hide what it was raised in place of."""
    members = _members(problem)
    found = [(place.place(one.name, one.text, one.frames), one) for one in members]
    known = [pair for pair in found if pair[0].family != "unknown"]
    if not known:
        return place.family("unknown_exception"), next(iter(members), problem)
    told = known[0]
    if told[0].id == "vllm_fault" and told[1].chained is not None and not told[1].direct:
        return next((pair for pair in known if pair[0].id != "vllm_fault"), told)
    return told


def _refine(lines: t.Iterable[Match], problem: Problem) -> Match | None:
    """The signature of an exception; of one that is too general, or that a line explains by name, that line."""
    known = list(lines)
    generic: Match | None = None
    for one in _members(problem):
        for match in causes.find(one.text, causes.SPECIFIC, one.where or problem.where):
            if not match.signature.generic:
                return next((line for line in known if match.signature.id in line.signature.refines), match)
            generic = generic or match
    about = {generic.signature.id, generic.signature.family} if generic else set[str]()
    entry = _family(problem)
    about |= {entry.id, entry.family}
    refining = [line for line in known if about & set(line.signature.refines)]
    return next((line for line in refining if not line.signature.generic), next(iter(refining), generic))


def _wrapper(state: LogState) -> Match | None:
    """The most telling line that only says that something failed."""
    found = [match for match in state.found if match.signature.kind == "wrapper"]
    for problem in state.problems:
        found.extend(causes.find(problem.text, causes.WRAPPERS))
    return min(found, key=lambda match: _TELLING.index(match.signature.id), default=None)
