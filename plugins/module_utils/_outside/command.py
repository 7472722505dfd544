# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program and reads what it prints."""

from __future__ import annotations

import os
import subprocess
import typing as t

NOT_STARTED = 127  # what a shell ends with then


def run(argv: t.Sequence[str], **environment: str) -> tuple[int, str, str]:
    """Exit code, output and complaints of a program, with more variables in its ENVIRONMENT; it gets no input.

    Ansible's run_command() gives the same, and loses a second where the program ends between two of its looks at it
    (ansible-core 2.19: select() without a file). That is one command in 150; a host is read with twenty.
    """
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, env={**os.environ, **environment}
        )
    except OSError as error:
        return NOT_STARTED, "", str(error)
    out, err = (text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr))
    return done.returncode, out, err
