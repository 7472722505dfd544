# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: transient
short_description: Test whether a task failed for a transient cause
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Returns V(true) if a task failed, and the same call may succeed at once, for example because Docker could not create
    a container for a moment.
  - The cause is the C(cause) of the result, or else what C(stderr) or C(msg) names. Unknown causes are not transient.
  - Intended for C(until), in tasks that can be repeated without loss.
options:
  _input:
    description: Registered result of the task.
    type: dict
    required: true
seealso:
  - module: dgxspark.vllm.vllm_log_info
"""

EXAMPLES = r"""
- name: Pull the image, twice if it failed for a transient cause
  ansible.builtin.command: docker pull nvcr.io/nvidia/vllm:25.09-py3
  register: pulled
  retries: 1
  until: pulled is not dgxspark.vllm.transient
"""

RETURN = r"""
_value:
  description: Whether the task failed for a transient cause.
  type: bool
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import recognize
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.signatures import SIGNATURES

TRANSIENT = {signature.id for signature in SIGNATURES if signature.retry}


def transient(result: t.Any) -> bool:
    if not isinstance(result, t.Mapping):
        raise AnsibleFilterError(f"transient: wants the result of a task, not {type(result).__name__}")
    if not (result.get("failed") or result.get("rc")):
        return False
    cause = result.get("cause")
    if isinstance(cause, t.Mapping):
        return cause.get("id") in TRANSIENT
    named = (recognize(str(result.get(name) or "")) for name in ("stderr", "msg"))
    return any(found.retry for found in named if found)


class TestModule:
    def tests(self) -> dict[str, t.Any]:
        return {"transient": transient}
