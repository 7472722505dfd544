# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.test.transient import TestModule as Plugin

transient = Plugin().tests()["transient"]

RESET = (
    "docker: Error response from daemon: failed to create task for container: OCI runtime create failed: runc create"
    " failed: unable to start container process: error during container init: read init-p: connection reset by peer"
)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"rc": 125, "failed": False, "stderr": RESET, "msg": "non-zero return code"}, True),
        ({"failed": True, "msg": f"General error: {RESET}"}, True),
        ({"failed": True, "cause": {"id": "docker_transient"}, "msg": "x"}, True),
        ({"failed": True, "cause": {"id": "hf_gated_noauth"}, "msg": RESET}, False),
        ({"failed": True, "cause": None, "msg": RESET}, True),
        ({"rc": 125, "stderr": "no matching manifest for linux/arm64/v8 in the manifest list entries"}, False),
        ({"failed": True, "msg": "nobody knows this"}, False),
        ({"rc": 0, "failed": False, "stderr": RESET}, False),
        ({"failed": False}, False),
        ({}, False),
    ],
)
def test_what_may_succeed_at_once(result: dict[str, t.Any], expected: bool) -> None:
    assert transient(result) is expected


def test_no_result() -> None:
    with pytest.raises(AnsibleFilterError, match="transient: wants the result of a task, not str"):
        transient("failed")
