# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs programs written in Python in a fork of this process: a start of Python and its imports take 50 ms otherwise.

They are processes as others are, with arguments, environment, folder, streams, signals and exit code of their own. What
they import may be there already, so that this is for stand-ins, not for proving that a program finds its modules.
"""

from __future__ import annotations

import contextlib
import functools
import os
import runpy
import shutil
import signal
import subprocess
import sys
import traceback
import typing as t
import warnings

Command = tuple[str, ...]


def _script(command: Command, environment: t.Mapping[str, str]) -> Command | None:
    """The program and its arguments, if it is to be run by this Python without an option."""
    if command[0] == sys.executable:
        return command[1:] if command[1:] and command[1].endswith(".py") else None
    path = shutil.which(command[0], path=environment.get("PATH"))
    if path is None:
        return None
    with open(path, "rb") as file:
        is_one = file.readline(1000) == f"#!{sys.executable}\n".encode()
    return (path, *command[1:]) if is_one else None


def _limit(command: Command) -> int:
    """Seconds, where it is `timeout SECONDS PROGRAM`; 0 otherwise."""
    return int(command[1]) if command[0] == "timeout" and command[2:] and command[1].isdigit() else 0


def _be(
    script: Command, environment: t.Mapping[str, str], limit: int, before: t.Callable[[], object] | None
) -> t.NoReturn:
    """To be called by the child."""
    if before:
        before()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limit:
        signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(124))
        signal.alarm(limit)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = list(script)
    sys.path[:0] = [os.path.dirname(script[0]), *filter(None, environment.get("PYTHONPATH", "").split(":"))]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (as long as the process; and of what this one forks)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    code = 1
    try:
        runpy.run_path(script[0], run_name="__main__")
        code = 0
    except SystemExit as exit_:
        if isinstance(exit_.code, str):
            print(exit_.code, file=sys.stderr)
        else:
            code = exit_.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)


class Popen(subprocess.Popen):
    """In the place of subprocess.Popen. Where the child would become another program, it runs this one instead."""

    def __init__(self, args: t.Any, *more: t.Any, **options: t.Any) -> None:
        plain = not more and not isinstance(args, (str, bytes)) and not options.get("shell")
        if plain and not options.get("executable") and not options.get("pass_fds"):
            given = options.get("env")
            environment = {
                os.fsdecode(name): os.fsdecode(value)
                for name, value in (os.environ if given is None else given).items()
            }
            command = tuple(map(os.fsdecode, args))
            limit = _limit(command)
            script = _script(command[2:] if limit else command, environment)
            if script:
                options["preexec_fn"] = functools.partial(_be, script, environment, limit, options.get("preexec_fn"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, from Python 3.12 on
            super().__init__(args, *more, **options)
