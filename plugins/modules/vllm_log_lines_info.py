#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads lines of the log of a vLLM service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_log_lines_info
short_description: Reads lines of the log of a vLLM service
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Reads the newest lines that the container of a service wrote, whether it runs or not.
  - To learn why a server failed, see M(dgxspark.vllm.vllm_health), which reads the log, too.
options:
  service:
    description: Name of the service, as C(vllm_service_name) of the role P(dgxspark.vllm.vllm#role).
    type: str
    required: true
  since:
    description:
      - Begin of what is read, as a span before now in hours, minutes and seconds, such as V(2h) or V(1h30m), or as a
        time in UTC, such as V(2026-11-29) or V(2026-11-29T05:00).
    type: str
    default: 1h
  pattern:
    description: Regular expression of Python that is found in each returned line. Empty means every line.
    type: str
    default: ""
  lines:
    description: Number of lines at most. The newest ones count.
    type: int
    default: 100
extends_documentation_fragment:
  - dgxspark.vllm.attributes
notes:
  - Requires root.
  - Of a longer log, the last 16 MB are read. Docker keeps 100 MB of the log of a container that the role
    P(dgxspark.vllm.vllm#role) has deployed.
  - Tokens, passwords in addresses, the API keys of the service and control characters are left out.
seealso:
  - module: dgxspark.vllm.vllm_log_info
"""

EXAMPLES = r"""
- name: Read the errors of the last two hours
  dgxspark.vllm.vllm_log_lines_info:
    service: vllm
    since: 2h
    pattern: ERROR|CRITICAL
  become: true
"""

RETURN = r"""
container:
  description: Name of the container. V(null) if the service has none.
  returned: success
  type: str
  sample: vllm-qwen3-8b-fp8
lines:
  description: The lines, the oldest first, with the time at which Docker got them, in UTC.
  returned: success
  type: list
  elements: dict
  sample:
    - time: "2026-11-29T05:01:02"
      text: "(APIServer pid=1) INFO 11-29 05:01:02 [api_server.py:1971] vLLM API server version 0.32.0"
"""

import os
import re
import shlex

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.text import mask
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.secrets import values_of
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.docker import parse_inspect
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.services import SERVICE_LABEL, home_of, is_our_own
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import dotenv_value
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log_lines import SINCE, select

SECONDS = 30  # of each command of Docker's
MOST = 16 * 1024 * 1024


def newest_container(module: AnsibleModule, docker: str, service: str) -> tuple[str, str] | None:
    """Id and name of the newest container of the service that is ours."""
    names = ["ps", "--all", "--no-trunc", "--quiet", f"--filter=label={SERVICE_LABEL}={service}"]
    rc, out, err = module.run_command(["timeout", str(SECONDS), docker, *names])
    if rc != 0:
        module.fail_json(msg=f"Docker does not answer: {plain(err).strip() or f'no answer in {SECONDS} s'}")
    for name in out.split():  # the newest first
        rc, shown, _err = module.run_command(["timeout", str(SECONDS), docker, "inspect", "--", name])
        found = parse_inspect(shown) if rc == 0 else None
        if found and is_our_own(found):
            return name, found.name
    return None


def known_secrets(service: str) -> list[str]:
    """The values of the .env of the release in service, the longest first: one may be a part of another."""
    home = home_of(service)
    if home is None:
        return []
    release = os.path.basename(os.path.realpath(os.path.join(home, "current")))
    written = values_of(home, release)
    found = (dotenv_value(f"{name}={value}", name) for name, value in written.items())
    return sorted(filter(None, found), key=len, reverse=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "since": {"type": "str", "default": "1h"},
            "pattern": {"type": "str", "default": ""},
            "lines": {"type": "int", "default": 100},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not SINCE.fullmatch(options["since"]):
        module.fail_json(
            msg=f"since: {options['since']!r} is not allowed; use a span such as 1h30m, or 2026-11-29T05:00"
        )
    if options["lines"] < 1:
        module.fail_json(msg=f"lines: {options['lines']} is not allowed; use at least 1")
    try:
        pattern = re.compile(options["pattern"]) if options["pattern"] else None
    except re.error as error:
        module.fail_json(msg=f"pattern: {options['pattern']!r} is no regular expression: {error}")
    docker = module.get_bin_path("docker")
    found = newest_container(module, docker, options["service"]) if docker else None
    if docker is None or found is None:
        module.exit_json(container=None, lines=[])
        return
    read = ["timeout", str(SECONDS), docker, "logs", "--timestamps", f"--since={options['since']}", found[0]]
    text = module.run_command(f"{shlex.join(read)} 2>&1 | tail -c {MOST}", use_unsafe_shell=True)[1]
    lines = select(mask(text, *known_secrets(options["service"])), pattern, options["lines"])
    module.exit_json(container=found[1], lines=[line._asdict() for line in lines])


if __name__ == "__main__":
    main()
