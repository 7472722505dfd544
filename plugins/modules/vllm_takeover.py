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
  - What is stopped is noted in the folder of the service that takes over, so that it can be started again as it was,
    also by a later run.
  - Nothing is removed that could not be made again. A container that Docker would remove when it stops (C(--rm)) is
    therefore refused.
options:
  state:
    description:
      - V(found) only says what the containers are.
      - V(stopped) stops those that run, so that neither Docker nor systemd starts them again.
      - V(started) starts what was stopped for O(home), as it was before. Nothing happens if nothing was. If a container
        of the release that took over has its name, that one is removed; the next start makes it anew.
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
  beside:
    description:
      - With V(stopped), the good release of O(home) that serves until now beside the containers, as on another port.
        It is noted, so that it can be brought back with them.
    type: str
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
    id:
      description: Docker's id of the container.
      type: str
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
    enabled:
      description: Whether systemd starts that service with the host.
      type: bool
    project:
      description: Compose project, if it belongs to one.
      type: str
    image:
      description: Image.
      type: str
    restart:
      description: Docker's restart policy, as it was before.
      type: str
    published:
      description: Address and port at which the host reaches the server. V(null) if no port is published.
      type: str
    auto_remove:
      description: Whether Docker removes it when it stops (C(--rm)).
      type: bool
    is_vllm:
      description: Whether it runs vLLM, by its image and its command.
      type: bool
    description:
      description: The same in words.
      type: str
  sample:
    - id: 0123456789ab0123456789ab0123456789ab0123456789ab0123456789ab0123
      kind: compose
      name: vllm-qwen3-8b-fp8
      renamed: null
      running: true
      service: null
      enabled: false
      project: llm
      image: nvcr.io/nvidia/vllm:25.09-py3
      restart: unless-stopped
      published: 127.0.0.1:8000
      auto_remove: false
      is_vllm: true
      description: the container vllm-qwen3-8b-fp8 of the Compose project llm
"""

import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import TAKEN_OVER, read_json, write
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.port_holder import (
    Holder,
    description,
    holder_of,
    merged,
    noted,
    served_beside,
    with_unit,
)


class Failed(Exception):
    pass


class Takeover:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.note = os.path.join(module.params["home"] or "", TAKEN_OVER)
        note = read_json(self.note) if module.params["home"] else {}
        self.noted, self.beside = noted(note), served_beside(note)

    def run(self, program: str, *arguments: str) -> None:
        path = self.module.get_bin_path(program, required=True)
        rc, out, err = self.module.run_command([path, *arguments])
        if rc:
            call = " ".join(dict.fromkeys([program, arguments[0], arguments[-1]]))
            raise Failed(f"{call} ended with {rc}: {(err or out).strip()}")

    def find(self, name: str) -> Holder | None:
        docker = self.module.get_bin_path("docker")
        if docker is None:  # nor a container
            return None
        rc, out, err = self.module.run_command([docker, "inspect", "--type", "container", "--", name])
        if rc and "no such" not in err.lower():
            raise Failed(f"docker inspect {name} ended with {rc}: {err.strip()}")
        holder = holder_of(out) if rc == 0 else None
        if holder is None or holder["kind"] != "service":
            return holder
        systemctl, shown = self.module.get_bin_path("systemctl"), ""
        if systemctl:
            properties = "--property=LoadState,ActiveState,UnitFileState"
            shown = self.module.run_command([systemctl, "show", properties, "--", f"{holder['service']}.service"])[1]
        return with_unit(holder, shown)

    def in_the_way(self, holder: Holder) -> bool:
        return bool(holder["running"] or holder["name"] == self.module.params["vacate"])

    def stop(self, holders: list[Holder]) -> None:
        """The note first: whatever happens then, a later run knows what there is to start again."""
        for holder in holders:
            if holder["name"] == self.module.params["vacate"]:
                holder["renamed"] = self.free_name(holder["name"])
        beside = self.beside or self.module.params["beside"] or None
        write(self.note, json.dumps({"holders": merged(self.noted, holders), "beside": beside}))
        for holder in holders:
            self.stop_one(holder)
        self.reload_units(holders)

    def stop_one(self, holder: Holder) -> None:
        """First what keeps it from coming back, then the stop: one that was half stopped runs, and is found again."""
        if holder["kind"] == "service":
            self.run("systemctl", "disable", "--no-reload", f"{holder['service']}.service")
            self.run("systemctl", "stop", f"{holder['service']}.service")
        elif holder["restart"] == "always":  # comes back with Docker even when it was stopped
            self.run("docker", "update", "--restart", "unless-stopped", holder["id"])
        there = self.find(holder["id"])
        if there and there["running"]:
            self.run("docker", "stop", "-t", str(self.module.params["stop_timeout"]), holder["id"])
        if there and holder["renamed"]:
            self.run("docker", "rename", holder["id"], holder["renamed"])

    def free_name(self, name: str) -> str:
        number = 1
        while self.find(f"{name}-before-{number}"):
            number += 1
        return f"{name}-before-{number}"

    def reload_units(self, holders: list[Holder]) -> None:
        """systemd starts them with Docker, or does not, as it last read their units. Never while one of them runs.

        A reload can take the GPU away from containers that have it by Docker's old hook.
        """
        services = [self.find(holder["id"]) for holder in holders if holder["kind"] == "service"]
        if services and not any(service and service["running"] for service in services):
            self.run("systemctl", "daemon-reload")

    def start(self) -> None:
        """All of them, also after one has failed; the note stays until all run."""
        failures = self.each(self.restore)
        self.reload_units(self.noted)
        failures += self.each(self.start_one)
        if failures:
            raise Failed("; ".join(failures))
        os.unlink(self.note)

    def each(self, step: t.Callable[[Holder], None]) -> list[str]:
        failures = []
        for holder in self.noted:
            try:
                step(holder)
            except Failed as failed:
                failures.append(str(failed))
        return failures

    def restore(self, holder: Holder) -> None:
        there = self.find(holder["id"])
        if there:
            self.rename_back(there, holder["name"])
        if holder["kind"] == "service" and holder["enabled"]:
            self.run("systemctl", "enable", "--no-reload", f"{holder['service']}.service")
        elif there and holder["restart"] == "always":
            self.run("docker", "update", "--restart", "always", holder["id"])

    def start_one(self, holder: Holder) -> None:
        if not holder["running"]:
            return
        if holder["kind"] == "service":
            unit = f"{holder['service']}.service"
            # an operator's start is none of the few that the unit may try; a unit without starts is refused
            self.module.run_command([self.module.get_bin_path("systemctl", required=True), "reset-failed", unit])
            self.run("systemctl", "start", unit)
        elif self.find(holder["id"]):
            self.run("docker", "start", holder["id"])
        else:
            self.module.warn(f"{holder['name']} cannot be started again: somebody has removed it")

    def rename_back(self, there: Holder, name: str) -> None:
        if there["name"] == name:
            return
        other = self.find(name)
        if other and other["service"] and not other["running"]:  # of the release that did not prove itself
            self.run("docker", "rm", other["id"])
        elif other:
            self.module.warn(f"{there['name']} keeps this name: another container is called {name} now")
            return
        self.run("docker", "rename", there["id"], name)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["found", "stopped", "started"], "default": "found"},
            "containers": {"type": "list", "elements": "str"},
            "vacate": {"type": "str"},
            "home": {"type": "path"},
            "beside": {"type": "str"},
            "stop_timeout": {"type": "int", "default": 60},
        },
        required_if=[
            ("state", "found", ["containers"]),
            ("state", "stopped", ["containers", "home"]),
            ("state", "started", ["home"]),
        ],
        supports_check_mode=True,
    )
    state = module.params["state"]
    if module.params["stop_timeout"] < 0:
        module.fail_json(msg=f"stop_timeout: {module.params['stop_timeout']} is not allowed; use 0 seconds or more")
    if state != "found" and not module.params["home"]:
        module.fail_json(msg="home: it is empty; name the folder of the service")
    takeover = Takeover(module)
    try:
        if state == "started":
            holders = takeover.noted
            changed = bool(holders)
            if changed and not module.check_mode:
                takeover.start()
        else:
            holders = [holder for holder in map(takeover.find, module.params["containers"] or []) if holder]
            wanted = [holder for holder in holders if takeover.in_the_way(holder)] if state == "stopped" else []
            lost = [holder["name"] for holder in wanted if holder["auto_remove"]]
            if lost:
                raise Failed(
                    f"{', '.join(lost)}: started with --rm, so Docker removes it when it stops, and it could not be"
                    " started again if the new release fails. Nothing was stopped. Stop it yourself:"
                    f" docker stop {' '.join(lost)}"
                )
            changed = bool(wanted)
            if changed and not module.check_mode:
                takeover.stop(wanted)
    except Failed as failed:
        module.fail_json(msg=str(failed))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or takeover.note}: {error.strerror}")
    module.exit_json(changed=changed, holders=[{**holder, "description": description(holder)} for holder in holders])


if __name__ == "__main__":
    main()
