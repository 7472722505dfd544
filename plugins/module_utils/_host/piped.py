# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two programs, the first one's output into the second one, with a limit for the whole and one for each standstill."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
import typing as t

from .._outside.text import plain_lines

BLOCK = 1 << 20


class PipeError(Exception):
    """Why not everything came through; the message is for the user."""


class Program(t.NamedTuple):
    name: str  # for the user
    argv: list[str]


def copy(source: Program, target: Program, seconds: float, standstill: float) -> int:
    """The bytes that came through. Raises PipeError; the end of the input then tells TARGET of no success."""
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryFile() as said_by_source, tempfile.TemporaryFile() as said_by_target:
        giver = subprocess.Popen(
            source.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said_by_source, bufsize=0
        )
        taker = subprocess.Popen(
            target.argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said_by_target, bufsize=0
        )
        given, taken = t.cast(t.IO[bytes], giver.stdout), t.cast(t.IO[bytes], taker.stdin)
        try:
            moved, is_taken = _move(given.fileno(), taken.fileno(), deadline, standstill)
            if is_taken and _ended(giver, deadline):  # before the target sees an end that it may believe
                raise PipeError(f"{source.name} ended with {giver.returncode}: {_last_line(said_by_source)}")
            taken.close()
            if _ended(taker, deadline):
                raise PipeError(f"{target.name} ended with {taker.returncode}: {_last_line(said_by_target)}")
            if not is_taken:
                raise PipeError(f"{target.name} did not read to the end")
            return moved
        finally:
            for program in (taker, giver):
                program.kill()  # nothing happens to one that has ended
                program.wait()
            given.close()
            taken.close()


def _move(source: int, target: int, deadline: float, standstill: float) -> tuple[int, bool]:
    """The bytes that were moved, and whether the target took them all."""
    os.set_blocking(target, False)
    moved = 0
    while True:
        _wait([source], [], deadline, standstill, moved)
        block = memoryview(os.read(source, BLOCK))
        if not block:
            return moved, True
        while block:
            _wait([], [target], deadline, standstill, moved)
            try:
                written = os.write(target, block)
            except BrokenPipeError:
                return moved, False
            moved, block = moved + written, block[written:]


def _wait(reading: list[int], writing: list[int], deadline: float, standstill: float, moved: int) -> None:
    patience = min(standstill, deadline - time.monotonic())
    if patience <= 0 or select.select(reading, writing, [], patience) == ([], [], []):
        late = deadline - time.monotonic() <= 0
        why = "it took too long" if late else f"nothing moved for {standstill:.0f} s"
        raise PipeError(f"{why}, after {moved / 1e9:.1f} GB")


def _ended(program: subprocess.Popen[bytes], deadline: float) -> int:
    try:
        return program.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise PipeError("it took too long") from None


def _last_line(file: t.IO[bytes]) -> str:
    file.seek(0)
    lines = plain_lines(file.read(100_000).decode(errors="replace")).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
