# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.os_problem import one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "/x: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), "/home: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied. It needs root: become: true"),
        (OSError("it broke"), "/home: it broke"),
        (
            PermissionError(errno.EPERM, "belongs to somebody else; remove it", "/x"),
            "/x: belongs to somebody else; remove it",
        ),
    ],
)
def test_what_failed_where(error: OSError, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert one_line(error, "/home") == line


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_root_is_not_told_to_become_root(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An immutable file, or a mount whose server makes nobody of root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert one_line(OSError(number, os.strerror(number), "/x"), "/home") == (
        f"/x: {os.strerror(number)}. Even root may not: look for an immutable attribute (lsattr), and for a mount that"
        " is read-only or squashes root (findmnt)"
    )
    assert one_line(OSError(errno.ENOSPC, "No space left on device", "/x"), "/home") == "/x: No space left on device"
