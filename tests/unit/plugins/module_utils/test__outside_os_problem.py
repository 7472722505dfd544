# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.os_problem import one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "/x: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), "/home: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied. It needs root: become: true"),
        (OSError("it broke"), "/home: it broke"),
    ],
)
def test_what_failed_where(error: OSError, line: str) -> None:
    assert one_line(error, "/home") == line
