#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make room on a port that another vLLM server holds, and give it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_takeover
short_description: Stop another vLLM server that holds the port, or start it again
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Knows servers that other services of this collection run, those of a Compose project, and those that somebody has
    started by hand with C(docker run).
  - Nothing is ever removed. What is stopped is noted in the folder of the service that takes over, so that it can be
    started again, also by a later run.
options:
  state:
    description:
      - V(found) only says what the containers are.
      - V(stopped) stops those that run, so that neither Docker nor systemd starts them again.
      - V(started) starts what was stopped for O(home), as it was before. Nothing happens if nothing was.
    type: str
    choices: [found, stopped, started]
    default: found
  containers:
    description: Names of the containers. Needed with V(found) and V(stopped).
    type: list
    elements: str
  vacate:
    description: With V(stopped), a name that has to be free. The container that has it gets another one.
    type: str
  home:
    description: Folder of the service that takes over. Needed with V(stopped) and V(started).
    type: path
  stop_timeout:
    description: Seconds until a server that does not end by itself is killed.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - Needs root.
"""

EXAMPLES = r"""
- name: What is it that holds the port?
  dgxspark.vllm.vllm_takeover:
    containers: [vllm-by-hand]
  become: true

- name: Make room
  dgxspark.vllm.vllm_takeover:
    state: stopped
    containers: [vllm-by-hand]
    home: /opt/vllm
  become: true

- name: Give the port back
  dgxspark.vllm.vllm_takeover:
    state: started
    home: /opt/vllm
  become: true
"""

RETURN = r"""
holders:
  description: What the containers are, or were. Containers that do not exist are left out.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: V(service) of this collection, V(compose) or V(container).
      type: str
    name:
      description: Name of the container.
      type: str
    renamed:
      description: The name that it got instead, if its own had to be free.
      type: str
    running:
      description: Whether it ran.
      type: bool
    service:
      description: Name of the service, if it is one of this collection.
      type: str
    project:
      description: Compose project, if it belongs to one.
      type: str
    image:
      description: Image.
      type: str
    restart:
      description: Docker's restart policy, as it was before.
      type: str
    is_vllm:
      description: Whether it runs vLLM, by its image and its command.
      type: bool
    description:
      description: The same in words.
      type: str
  sample:
    - kind: compose
      name: vllm-qwen3-8b-fp8
      renamed: null
      running: true
      service: null
      project: llm
      image: nvcr.io/nvidia/vllm:25.09-py3
      restart: unless-stopped
      is_vllm: true
      description: the container vllm-qwen3-8b-fp8 of the Compose project llm
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._port_holder import Holder, description, holder_of
from ansible_collections.dgxspark.vllm.plugins.module_utils._releases import TAKEN_OVER, read_json


class Takeover:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.docker: str = module.get_bin_path("docker", required=True)
        self.note = os.path.join(module.params["home"] or "", TAKEN_OVER)

    def run(self, *command: str) -> str:
        rc, out, err = self.module.run_command(list(command))
        if rc:
            self.module.fail_json(msg=f"{' '.join(command[:3])} ended with {rc}: {(err or out).strip()}")
        return str(out)

    def find(self, name: str) -> Holder | None:
        rc, out, _err = self.module.run_command([self.docker, "inspect", "--type", "container", "--", name])
        return holder_of(out) if rc == 0 else None

    def noted(self) -> list[Holder]:
        """What an earlier run has stopped and not started again."""
        return list(read_json(self.note).get("holders") or [])

    def stop(self, holders: list[Holder], vacate: str | None) -> None:
        """The note first: whatever happens then, a later run knows what there is to start again."""
        for holder in holders:
            if holder["name"] == vacate:
                holder["renamed"] = self.free_name(vacate)
        new = f"{self.note}.new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"holders": [*self.noted(), *holders]}, file)
        os.replace(new, self.note)
        for holder in holders:
            self.stop_one(holder)

    def stop_one(self, holder: Holder) -> None:
        if holder["kind"] == "service":
            self.run("systemctl", "disable", "--now", f"{holder['service']}.service")
        else:
            if holder["restart"] == "always":  # comes back with Docker even when it was stopped
                self.run(self.docker, "update", "--restart", "unless-stopped", holder["name"])
            self.run(self.docker, "stop", "--time", str(self.module.params["stop_timeout"]), holder["name"])
        if holder["renamed"]:
            self.run(self.docker, "rename", holder["name"], holder["renamed"])

    def free_name(self, name: str) -> str:
        number = 1
        while self.find(f"{name}-before-{number}"):
            number += 1
        return f"{name}-before-{number}"

    def start(self) -> None:
        for holder in self.noted():
            if holder["renamed"] and self.find(holder["renamed"]):
                self.run(self.docker, "rename", holder["renamed"], holder["name"])
            if holder["kind"] != "service" and holder["restart"] == "always":
                self.run(self.docker, "update", "--restart", "always", holder["name"])
            if not holder["running"]:
                continue
            if holder["kind"] == "service":
                self.run("systemctl", "enable", "--now", f"{holder['service']}.service")
            else:
                self.run(self.docker, "start", holder["name"])
        os.unlink(self.note)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["found", "stopped", "started"], "default": "found"},
            "containers": {"type": "list", "elements": "str"},
            "vacate": {"type": "str"},
            "home": {"type": "path"},
            "stop_timeout": {"type": "int", "default": 60},
        },
        required_if=[
            ("state", "found", ["containers"]),
            ("state", "stopped", ["containers", "home"]),
            ("state", "started", ["home"]),
        ],
        supports_check_mode=True,
    )
    takeover = Takeover(module)
    state, vacate = module.params["state"], module.params["vacate"]
    if state == "started":
        holders = takeover.noted()
        changed = bool(holders)
    else:
        holders = [holder for holder in map(takeover.find, module.params["containers"]) if holder]
        changed = state == "stopped" and any(holder["running"] or holder["name"] == vacate for holder in holders)
    if changed and not module.check_mode:
        try:
            if state == "started":
                takeover.start()
            else:
                takeover.stop(holders, vacate)
        except OSError as error:
            module.fail_json(msg=f"{error.filename or takeover.note}: {error.strerror}")
    module.exit_json(changed=changed, holders=[{**holder, "description": description(holder)} for holder in holders])


if __name__ == "__main__":
    main()
