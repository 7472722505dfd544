#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_log_info
short_description: Find the cause of a failed vLLM start in a log
version_added: 0.1.0
description:
  - Reads a log of vLLM, an error of Docker, or the journal of a unit, and names the root cause, what it means, and a
    remedy.
  - It needs nothing but the text. The log may come from any host and any way to start vLLM, with the prefixes of
    C(docker logs), Docker Compose, C(journalctl) or Ray.
  - It may be a copy, too - from a web page with its entities, from a terminal that broke all lines at one width, or
    from a viewer that shows the newest line first.
  - Exceptions are read as such. What was logged and survived, what belongs to one request, and what only reports the
    end of another process is not taken for the cause.
  - An exception that is not known is placed in a family (for example C(kernel), C(image) or C(network)), and the remedy
    says that this is a likelihood.
  - It is the same code that M(dgxspark.vllm.vllm_health) uses.
options:
  path:
    description:
      - File with the log, on the host where the module runs.
      - Of a huge file only the beginning and the end are read.
    type: path
  content:
    description: The log itself.
    type: str
  source:
    description:
      - V(container) is what vLLM wrote, such as the output of C(docker logs).
      - V(docker) is an error of Docker, such as C(State.Error) of C(docker inspect) or the output of
        C(docker compose up).
      - V(journal) is the journal of the systemd unit that starts the container.
    type: str
    choices: [container, docker, journal]
    default: container
  exit_code:
    description:
      - Exit code of the container, if it has ended.
      - It tells a server that was killed from one that failed. Without it, the log alone is judged.
    type: int
  running:
    description: Whether the container is running.
    type: bool
    default: false
  idle_seconds:
    description:
      - With O(running=true), for how many seconds nothing was logged.
      - From O(stall_timeout) on, the verdict is C(stuck).
    type: float
    default: 0.0
  stall_timeout:
    description: For how many seconds a server that loads may log nothing.
    type: int
    default: 900
extends_documentation_fragment:
  - dgxspark.vllm.attributes
seealso:
  - module: dgxspark.vllm.vllm_health
notes:
  - On the command line, C(ansible localhost -m dgxspark.vllm.vllm_log_info -a path=start.log).
  - RV(cause.link) is a page in the folder of the collection, which C(ansible-galaxy collection list dgxspark.vllm)
    names. What that page says of a cause is in RV(cause.meaning) and RV(cause.remedy).
author:
  - The dgxspark.vllm authors (@dgxspark)
"""

EXAMPLES = r"""
- name: Diagnose a log that somebody sent
  dgxspark.vllm.vllm_log_info:
    path: start.log
    exit_code: 1
  delegate_to: localhost
  register: found

- name: Show the cause and the remedy
  ansible.builtin.debug:
    msg: "{{ found.cause.meaning }}. Remedy: {{ found.cause.remedy }}"
  when: found.cause is not none

- name: Diagnose why Docker did not start a container
  dgxspark.vllm.vllm_log_info:
    content: "{{ inspected.container.State.Error }}"
    source: docker
"""

RETURN = r"""
verdict:
  description:
    - V(failed), V(loading), V(stuck) or V(ready), as far as the log tells.
    - Whether a server that is V(ready) answers is not in its log.
  returned: always
  type: str
  sample: failed
phase:
  description: How far the start got, as RV(dgxspark.vllm.vllm_health#module:phase).
  returned: always
  type: str
  sample: load
cause:
  description: The root cause. V(null) if nothing failed.
  returned: always
  type: dict
  contains:
    id:
      description: Name of the cause, as in docs/troubleshooting.md.
      type: str
    family:
      description:
        - Where the cause lies.
        - One of C(docker), C(driver), C(memory), C(kernel), C(compiler), C(image), C(option), C(model), C(weights),
          C(files), C(hub), C(network), C(engine), C(request), C(service), C(machine) and C(unknown).
      type: str
    certain:
      description: Whether the cause is known. If not, the family is a likelihood.
      type: bool
    meaning:
      description: What happened.
      type: str
    remedy:
      description: What to do, in variables of the role C(dgxspark.vllm.vllm).
      type: str
    evidence:
      description: The line or exception that shows it, without secrets.
      type: str
    change:
      description: Variables with the values with which the start should succeed, if they can be computed.
      type: dict
    sets:
      description: Options and environment variables that avoid the fault and keep image and model, by variable.
      type: dict
    retry:
      description: Whether the fault is passing, so that the same call may succeed at once.
      type: bool
    link:
      description: Where to read more, from the collection's root.
      type: str
  sample:
    id: deep_gemm
    family: kernel
    certain: true
    meaning: DeepGEMM of this image does not know the GPU
    remedy: "set VLLM_USE_DEEP_GEMM: 0 in vllm_extra_env; it keeps image and model"
    evidence: "RuntimeError: Assertion error (csrc/apis/hyperconnection.hpp:56): Unsupported architecture"
    change: {}
    sets: {"vllm_extra_env": {"VLLM_USE_DEEP_GEMM": "0"}}
    retry: false
    link: docs/troubleshooting.md#deep_gemm
hint:
  description: What the start waits for, as RV(cause). V(null) if the log names nothing of that kind.
  returned: always
  type: dict
vllm_version:
  description: Version of vLLM, if the log names it.
  returned: always
  type: str
  sample: 0.28.0
last_line:
  description: Last line of the log, without secrets.
  returned: always
  type: str
  sample: "RuntimeError: Engine core initialization failed. See root cause above."
log_lines:
  description: Lines of the last start in the log, as far as they were read.
  returned: always
  type: int
  sample: 98
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.diagnose import SOURCES, diagnose
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.lines import MAX_TEXT


def read(path: str) -> str:
    """The beginning and the end of a file; both are text, whatever its bytes are."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        content = file.read(2 * MAX_TEXT)
        if size > 4 * MAX_TEXT:
            file.seek(size - 2 * MAX_TEXT)
            content += b"\n"
        content += file.read(2 * MAX_TEXT)
    return content.decode("utf-8", "replace")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "content": {"type": "str"},
            "source": {"type": "str", "choices": list(SOURCES), "default": "container"},
            "exit_code": {"type": "int"},
            "running": {"type": "bool", "default": False},
            "idle_seconds": {"type": "float", "default": 0.0},
            "stall_timeout": {"type": "int", "default": 900},
        },
        mutually_exclusive=[("path", "content")],
        required_one_of=[("path", "content")],
        supports_check_mode=True,
    )
    text = module.params["content"]
    if text is None:
        try:
            text = read(module.params["path"])
        except OSError as error:
            module.fail_json(msg=f"path: cannot read {module.params['path']}: {error.strerror}")
    options = {
        name: module.params[name] for name in ("source", "exit_code", "running", "idle_seconds", "stall_timeout")
    }
    text = text.encode("utf-8", "replace").decode("utf-8")
    module.exit_json(changed=False, **diagnose(text, **options))


if __name__ == "__main__":
    main()
