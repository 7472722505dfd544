# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line of a log without what stands before its message: time, container, process, rank, level, origin."""

from __future__ import annotations

import re
import typing as t

from .._outside.text import plain_lines
from .._outside.values import mapping, parse_json

MAX_TEXT = 2 * 1024 * 1024  # of each end; a start writes some hundred kilobytes, the rest is requests
MAX_LINE = 4000
PIECE = 16_000  # Docker keeps a longer line in several pieces

# Written by Docker, Compose, the journal or a log collector in front of what the process wrote.
_OUTER = re.compile(
    r"(?:"
    # docker logs -t; a collector; the log of a Kubernetes node; journalctl -o short-iso and rsyslog
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)? "
    r"(?:\| (?:\w+ \| )*|\S{1,64} >> |std(?:out|err) [FP] |\S{1,64} [^\s:\[()]{1,64}\[\d+\]: )?"
    r"|[^\W_][^\s(\[\"]{0,7} [ \d]\d \d\d:\d\d:\d\d \S{1,64} [^\s:\[]{1,64}(?:\[\d+\])?: "  # journalctl, any language
    r"|[A-Za-z][\w.-]{0,63} *\| "  # docker compose logs
    r"|\[\d{1,7}\] (?=\[rank)"
    r")"
)
_PROCESS = re.compile(r"\(([^()]{0,60}\bpid=\d+[^()]{0,60})\)(?: |$)")
_RANK = re.compile(r"\[rank(\d+)\]:[ ]?")
_LEVEL = re.compile(
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL)[ :]\s*"
    r"((?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d{1,6})? )?(?:\[?([\w.<>/-]{1,120}:\d+)\] ?)?"
)
# The standard formatter of Python's logging, where vLLM's own is switched off.
_LOGGER = re.compile(r"(?:- )?[A-Za-z_][\w.]{0,120} - (DEBUG|INFO|WARNING|ERROR|CRITICAL) - ")
# A program that runs vLLM logs what it prints, all of it with one level.
_RELAYED = re.compile(r" - (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) - +$")
# What a line of vLLM begins with. What stands before it in most of them was put there by another program.
_BEGINS = re.compile(
    r"\([A-Z]\w{2,40}(?: [^()\n]{0,40})? ?pid=\d+|(?:DEBUG|INFO|WARNING|ERROR) \d\d-\d\d \d\d:\d\d:\d\d |INFO:     "
    r"|Traceback \(most recent call last\):"
)
# Ray leaves out what other workers write too, and says so.
_REPEATED = re.compile(r" \[repeated \d{1,6}x across cluster\](?: \(Ray dedup[^\n]{0,300})?")
# A collector that writes logfmt: keys and values, and what the program said as one of them.
_LOGFMT = re.compile(
    r"(?:[a-z_]{1,20}=(?:\"[^\"\\]{0,200}\"|[^\s\"]{0,200}) ){1,8}"
    r"msg=\"((?:[^\"\\]|\\.){0,4000})\"(?: [\w.-]{1,40}=\S{0,200})*$"
)
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": " ", "r": "", "t": "\t"}
SAMPLE = 400  # lines of either end that are looked at for a prefix that no one knows
_GLOG = re.compile(r"\[?([IWEF])\d{0,4} (?:\d\d:\d\d:\d\d\.\d{1,9} )?(?:\d+ )?[\w./-]{1,120}:\d+\] ?")
_GLOG_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "ERROR"}
_GROUP = re.compile(r" +(?:\| ?|\+ (?=Exception Group))")  # of an ExceptionGroup


class Line(t.NamedTuple):
    message: str  # its indentation is kept
    process: str = ""
    level: str | None = None
    dated: bool = False
    origin: str = ""  # file and line that logged it


def clean(text: str) -> str:
    """A log as plain lines: no control characters, progress bars line by line, no middle if it is huge."""
    if len(text) > 2 * MAX_TEXT:
        text = text[:MAX_TEXT] + "\n" + text[-MAX_TEXT:]
    first = text.split("\n", 1)[0]
    if text.startswith("{") and _said(first) is not None:
        text = "".join(_unpacked(line) for line in text.splitlines())
    elif _LOGFMT.match(first.rstrip("\r")):
        text = "".join(f"{_quoted(line)}\n" for line in text.splitlines())
    return plain_lines(text.replace("\r\n", "\n").replace("\r", "\n"))


def undressed(text: str) -> str:
    """A clean log without what Ray adds to lines, and what a program that no one knows has put before each of them."""
    if "across cluster]" in text:
        text = _REPEATED.sub("", text)
    lines = text[: SAMPLE * 200].split("\n")[:SAMPLE] + text[-SAMPLE * 200 :].split("\n")[-SAMPLE:]
    shapes: dict[str, int] = {}
    known = 0
    for line in lines:
        begin = _BEGINS.search(line[:300])
        if begin is None:
            continue
        if begin.start() == 0 or _is_read(line, line[begin.start() :]):
            known += 1
        else:
            shape = re.sub(r" +(?=\S)", " ", re.sub(r"\d+", "0", line[: begin.start()]))
            shapes[shape] = shapes.get(shape, 0) + 1
    best = max(shapes, key=lambda shape: shapes[shape], default="")
    if not best or shapes[best] < 2 or shapes[best] <= known:
        return text
    prefix = r"\d+".join(re.escape(part) for part in best.rstrip().split("0")).replace(r"\ ", " +")
    return re.sub(rf"(?m)^{prefix}[ \t]{{0,{len(best) - len(best.rstrip())}}}", "", text)


def _is_read(line: str, inside: str) -> bool:
    """Whether the prefix of a line is a known one."""
    return len(read(line).message) <= len(inside) and not _RELAYED.search(line[: -len(inside)])


def _unpacked(line: str) -> str:
    """A line of a log that is kept as JSON."""
    said = _said(line)
    if said is None:
        return f"{line}\n"
    return said if said.endswith("\n") or len(said) >= PIECE else f"{said}\n"


def _said(line: str) -> str | None:
    """What a program said, as Docker's own file of a log, a collector, the journal, or Python's logging keeps it."""
    entry = mapping(parse_json(line))
    said = next(
        (entry[name] for name in ("log", "MESSAGE", "message", "msg") if isinstance(entry.get(name), str)), None
    )
    if said is None:
        return None
    level, raised = entry.get("levelname"), entry.get("exc_info")
    said = f"{level}: {said}" if level in ("DEBUG", "INFO", "WARNING", "ERROR") else said
    return f"{said}\n{raised}" if isinstance(raised, str) else said


def _quoted(line: str) -> str:
    """What a line of logfmt quotes as the message."""
    found = _LOGFMT.match(line)
    return _ESCAPED.sub(lambda sign: _ESCAPES.get(sign.group(1), sign.group(1)), found.group(1)) if found else line


def begins(line: str) -> bool:
    """Whether a line has what a program writes before its message."""
    return bool(_BEGINS.search(line[:300]) or _OUTER.match(line) or read(line).message != line)


def read(line: str) -> Line:
    """Take a line apart."""
    position = 0
    outer = _OUTER.match(line)
    if outer:
        position = outer.end()
        again = _OUTER.match(line, position)
        position = again.end() if again else position
    process = ""
    while line[position : position + 1] == "(":  # Ray puts a second one behind the first
        found = _PROCESS.match(line, position)
        if not found:
            break
        process, position = found.group(1), found.end()
    rank = _RANK.match(line, position)
    if rank:
        inside = _PROCESS.match(line, rank.end())  # a launcher puts the rank before what vLLM writes
        process = inside.group(1) if inside else process or f"rank{rank.group(1)}"
        position = (inside or rank).end()
    char = line[position : position + 1]
    if char and char in "DIWEC":
        level = _LEVEL.match(line, position)
        if level:
            return Line(line[level.end() :], process, level.group(1), bool(level.group(2)), level.group(3) or "")
    if outer and (char == "-" or char.isalpha()):
        logger = _LOGGER.match(line, position)
        if logger:
            return Line(line[logger.end() :], process, logger.group(1), True)
    if char and char in "[IWEF":
        glog = _GLOG.match(line, position)
        if glog:
            return Line(line[glog.end() :], process, _GLOG_LEVELS[glog.group(1)], True)
    message = line[position:]
    if char == " " and ("|" in message[:24] or "+ Exc" in message[:24]):
        group = _GROUP.match(message)
        message = message[group.end() :] if group else message
    return Line(message, process)
