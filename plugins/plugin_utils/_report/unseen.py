# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host could not be judged, from what Ansible or ssh said of it. Pure."""

from __future__ import annotations

import re

from .notes import UNSEEN, Note

_NOTES = {note.id: note for note in UNSEEN}
_NO_LOGIN = re.compile(r"Failed to (?:connect to the host|authenticate)\b|can be reached over ssh")
# The first that matches: ssh goes on to a refused login after a key that changed.
_LOGIN = (
    ("host_key_refused", re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed")),
    ("name_not_resolved", re.compile(r"Could not resolve hostname")),
    (
        "login_refused",
        re.compile(
            r"Permission denied(?: \([\w,@.-]{1,120}\)|, please try again)|Too many authentication failures"
            r"|Invalid/incorrect (?:username/)?password|Failed to authenticate\b"
        ),
    ),
)
_SUDO = re.compile(
    r"(?:Missing|Incorrect) sudo password|sudo: a (?:terminal|password) is required|is not in the sudoers file"
    r"|waiting for (?:privilege escalation prompt|become success)"
)
# Over a connection that is open already, a frozen host looks so, too.
_NO_ANSWER = re.compile(r"Timeout \(\d+s\) waiting for privilege escalation prompt")


def why_unreachable(message: str) -> Note:
    """The cause of a host that could not be reached."""
    return _login(message) or _NOTES["unreachable"]


def why_failed(message: str) -> Note:
    """The cause of a check that failed."""
    return _known(message) or _NOTES["check_failed"]


def with_remedy(message: str, unreachable: bool = False) -> str:
    """The MESSAGE of a task, with what to do if it is about login or sudo; UNREACHABLE if it surely is."""
    known = _login(message) if unreachable else _known(message)
    return f"{message.rstrip().rstrip('.')}. Remedy: {known.remedy}" if known else message


def _known(message: str) -> Note | None:
    """Of any task: a program that it ran may have said the same of another host or file."""
    if _NO_LOGIN.search(message):
        return _login(message)
    if _NO_ANSWER.search(message):
        return _NOTES["sudo_silent"]
    return _NOTES["sudo_refused"] if _SUDO.search(message) else None


def _login(message: str) -> Note | None:
    return next((_NOTES[name] for name, pattern in _LOGIN if pattern.search(message)), None)
