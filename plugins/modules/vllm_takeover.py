#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops other vLLM servers to make room for a service, and starts them again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_takeover
short_description: Stops other vLLM servers to make room for a service, and starts them again
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Stops servers of other services of this collection, of a Compose project, and those started with C(docker run), and
    makes their port and container name available.
  - Records what it stopped in O(home), so that the same or a later run can start it again as it was.
  - Never removes a container that could not be created again. Containers that Docker removes when they stop (C(--rm))
    are therefore rejected, and so are containers that do not serve vLLM.
  - To find the containers, see M(dgxspark.vllm.vllm_conflicts_info).
options:
  state:
    description:
      - V(stopped) stops O(containers), so that neither Docker nor systemd starts them again.
      - V(started) starts what was stopped for O(home), as it was before. Nothing is changed if nothing was stopped. If
        a container of the release that took over has the name of one of them, that container is removed, and the next
        start creates it again.
    type: str
    choices: [stopped, started]
    required: true
  containers:
    description: Names of the containers to stop. Required with O(state=stopped).
    type: list
    elements: str
  vacate:
    description: With O(state=stopped), a name that has to be available. The container that has it is renamed.
    type: str
  home:
    description: Folder of the service that takes over, as C(vllm_home) of the role P(dgxspark.vllm.vllm#role).
    type: path
    required: true
  beside:
    description:
      - With O(state=stopped), the good release of the service in O(home) that is in service at the same time as the
        containers, for example on another port. It is recorded, so that a rollback restores it together with them.
    type: str
  replaced:
    description:
      - With O(state=started), start the servers that were stopped for a release that was then verified, for example
        because the service in O(home) is removed. Those that exist no longer, or run, are left out.
      - Otherwise those that were stopped for a release that was never verified.
    type: bool
    default: false
extends_documentation_fragment:
  - dgxspark.vllm.attributes.changes
notes:
  - Requires root.
seealso:
  - module: dgxspark.vllm.vllm_conflicts_info
"""

EXAMPLES = r"""
- name: Stop a server that holds the port
  dgxspark.vllm.vllm_takeover:
    state: stopped
    containers: [vllm-by-hand]
    home: /opt/vllm
  become: true

- name: Start it again
  dgxspark.vllm.vllm_takeover:
    state: started
    home: /opt/vllm
  become: true
"""

RETURN = r"""
holders:
  description:
    - The containers, as they were before. Containers that do not exist are left out.
    - With O(replaced=true), each also has C(command), which starts it on the host as it was.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Identifier of the container.
      type: str
      returned: always
      sample: 0123456789ab0123456789ab0123456789ab0123456789ab0123456789ab0123
    kind:
      description: V(service) of this collection, V(compose) or V(container).
      type: str
      returned: always
      sample: compose
    name:
      description: Name of the container.
      type: str
      returned: always
      sample: vllm-qwen3-8b-fp8
    renamed:
      description: Name that it got to make its own available. V(null) if it kept its name.
      type: str
      returned: always
      sample: null
    running:
      description: Whether it ran before.
      type: bool
      returned: always
      sample: true
    service:
      description: Name of the service. V(null) if it does not belong to one of this collection.
      type: str
      returned: always
      sample: null
    enabled:
      description: Whether systemd starts that service at boot.
      type: bool
      returned: always
      sample: false
    project:
      description: Name of the Compose project. V(null) if it does not belong to one.
      type: str
      returned: always
      sample: llm
    image:
      description: Image of the container.
      type: str
      returned: always
      sample: nvcr.io/nvidia/vllm:25.09-py3
    restart:
      description: Restart policy of the container, as it was before.
      type: str
      returned: always
      sample: unless-stopped
    published:
      description: Address and port at which the host reaches the server. V(null) if no port is published.
      type: str
      returned: always
      sample: 127.0.0.1:8000
    listens:
      description: Address and port on which Docker listens for clients. V(null) if no port is published.
      type: str
      returned: always
      sample: 0.0.0.0:8000
    auto_remove:
      description: Whether Docker removes the container when it stops (C(--rm)).
      type: bool
      returned: always
      sample: false
    is_vllm:
      description: Whether it serves vLLM, by its command, or because it belongs to a service of this collection.
      type: bool
      returned: always
      sample: true
    description:
      description: A phrase that identifies the container to an operator.
      type: str
      returned: always
      sample: the container vllm-qwen3-8b-fp8 of the Compose project llm
"""

import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import (
    REPLACED,
    TAKEN_OVER,
    read_json,
    write,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import containers
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.containers import Failed
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.port_holder import (
    Holder,
    description,
    merged,
    noted,
    served_beside,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.services import unit_files, written
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain

STOP_SECONDS = 60  # a server that does not stop in that time is killed


class Takeover:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.note = os.path.join(module.params["home"], REPLACED if module.params["replaced"] else TAKEN_OVER)
        note = read_json(self.note)
        self.noted, self.beside = noted(note), served_beside(note)

    def run(self, program: str, *arguments: str) -> None:
        path = self.module.get_bin_path(program, required=True)
        rc, out, err = self.module.run_command([path, *arguments])
        if rc:
            call = " ".join(dict.fromkeys([program, arguments[0], arguments[-1]]))
            raise Failed(f"{call} ended with {rc}: {plain((err or out).strip())}")

    def find(self, name: str) -> Holder | None:
        return containers.find(self.module, name)

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
            self.run("docker", "stop", "-t", str(STOP_SECONDS), holder["id"])
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

    def replaced(self) -> list[Holder]:
        """Those that can be started again, each with the command that does it."""
        found = []
        for holder in self.noted:
            there = self.find(holder["id"])
            is_there = self.has_unit(holder) if holder["kind"] == "service" else there is not None
            if is_there and not (there and there["running"]):
                found.append({**holder, "command": command(holder, there["name"] if there else holder["name"])})
        return [holder for holder in found if holder["command"]]

    def has_unit(self, holder: Holder) -> bool:
        return bool(written(unit_files(holder["service"])[0]))

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


def command(holder: Holder, name: str) -> str:
    """Starts it as it was; NAME is what it is called now."""
    if holder["kind"] == "service":
        return f"sudo systemctl {'enable --now' if holder['enabled'] else 'start'} {holder['service']}.service"
    steps = [f"sudo docker rename {name} {holder['name']}"] if name != holder["name"] else []
    steps += [f"sudo docker update --restart always {holder['name']}"] if holder["restart"] == "always" else []
    steps += [f"sudo docker start {holder['name']}"] if holder["running"] else []
    return " && ".join(steps)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["stopped", "started"], "required": True},
            "containers": {"type": "list", "elements": "str"},
            "vacate": {"type": "str"},
            "home": {"type": "path", "required": True},
            "beside": {"type": "str"},
            "replaced": {"type": "bool", "default": False},
        },
        required_if=[("state", "stopped", ["containers"])],
        supports_check_mode=True,
    )
    state = module.params["state"]
    if not module.params["home"]:
        module.fail_json(msg="home: it is empty; name the folder of the service")
    takeover = Takeover(module)
    try:
        if state == "started":
            if module.params["replaced"]:
                takeover.noted = takeover.replaced()
            holders = takeover.noted
            changed = bool(holders)
            if changed and not module.check_mode:
                takeover.start()
        else:
            holders = [holder for holder in map(takeover.find, module.params["containers"] or []) if holder]
            wanted = [holder for holder in holders if takeover.in_the_way(holder)]
            strangers = [holder["name"] for holder in wanted if not holder["is_vllm"]]
            if strangers:
                raise Failed(f"{', '.join(strangers)}: does not serve vLLM, so it is not stopped. Nothing was changed")
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
