#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_record
short_description: Record what the roles change on a host, and put it back
version_added: "0.1.0"
description:
  - Keeps in C(/var/lib/dgxspark/host.json), which only root may read, what the roles
    P(dgxspark.vllm.spark_host#role) and P(dgxspark.vllm.container_runtime#role) have changed, each thing as it was
    before and as they left it. That is the content, owner and mode of files, the values of kernel parameters, whether
    units are active and enabled, and which packages were added, also by the other roles.
  - Puts back only what is still as they left it, and says what it leaves and why.
options:
  state:
    description:
      - V(opened) notes what is there, before a change. Of what an interrupted run has noted, the first note counts.
      - V(closed) notes what is there after the change. What has not changed is forgotten.
      - V(restored) puts everything in the record back, and forgets it. What an interrupted run has left open is closed
        first. Fails if a service of this collection is installed.
    type: str
    choices: [opened, closed, restored]
    required: true
  files:
    description: With O(state=opened), absolute paths of files. Of a link, the file that it leads to.
    type: list
    elements: path
    default: []
  sysctl:
    description: With O(state=opened), names of kernel parameters.
    type: list
    elements: str
    default: []
  units:
    description: With O(state=opened), names of systemd units.
    type: list
    elements: str
    default: []
  packages:
    description: With O(state=opened), names of Debian packages.
    type: list
    elements: str
    default: []
  remove_packages:
    description:
      - With O(state=restored), remove the packages that were added, with their configuration, and the sources of apt
        that were added for them. Otherwise both stay.
      - They stay, too, if another package would be removed with them, or if Docker is one of them and has containers.
        HAProxy, keepalived, Prometheus, its exporter and its Alertmanager stay while their services run, and Prometheus
        as long as there are recorded figures.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Can run in check mode. With O(state=restored), reports what would be put back. Otherwise does nothing.
  diff_mode:
    support: full
    description: With O(state=restored), lists what is put back, without the content of files.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - Requires root.
  - Docker is not told of a C(daemon.json) that was put back. M(dgxspark.vllm.daemon_json) with C(state=applied) does it
    afterwards.
author:
  - The dgxspark.vllm authors (@dgxspark)
seealso:
  - module: dgxspark.vllm.daemon_json
  - module: dgxspark.vllm.apt_source
"""

EXAMPLES = r"""
- name: Record what is there
  dgxspark.vllm.host_record:
    state: opened
    files: [/etc/sysctl.d/90-example.conf]
    sysctl: [vm.swappiness]
  become: true

- name: Record what has changed
  dgxspark.vllm.host_record:
    state: closed
  become: true

- name: Put everything back
  dgxspark.vllm.host_record:
    state: restored
  become: true
"""

RETURN = r"""
restored:
  description: What was put back, or would be in check mode.
  returned: with O(state=restored)
  type: list
  elements: str
  sample: [/etc/sysctl.d/90-dgxspark.conf (removed), vm.swappiness = 60]
left:
  description: What is left as it is, and why.
  returned: with O(state=restored)
  type: list
  elements: str
  sample: ["/etc/docker/daemon.json: it was changed by others since"]
"""

import contextlib
import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import host_record
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.host_state import Failed, Host, installed_services
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import read_json, write
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem

RECORD = "/var/lib/dgxspark/host.json"
OPEN = "/var/lib/dgxspark/host.open.json"
# Without them the packages that stay would get no updates.
APT = "/etc/apt/"


def keep(path: str, content: t.Mapping[str, t.Any]) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    write(path, json.dumps(content, indent=1, sort_keys=True) + "\n", mode=0o600)


def forget(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(os.path.dirname(path))


def save(changes: host_record.Changes) -> None:
    if not host_record.is_empty(changes):
        keep(RECORD, changes)
        return
    forget(RECORD)


def opened(host: Host, asked: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    if not host.module.check_mode:
        names = {**asked, "files": [os.path.realpath(path) for path in asked["files"]]}
        keep(OPEN, host_record.snapshot(host.read(names), read_json(OPEN)))
    return {"changed": False}  # of the host, that is


def closing(host: Host) -> host_record.Changes:
    """The record, with what a run has left open: it may have been interrupted."""
    known = t.cast(host_record.Changes, read_json(RECORD))
    before = read_json(OPEN)
    return host_record.close(known, before, host.read(before)) if before else known


def closed(host: Host, _asked: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    if os.path.exists(OPEN) and not host.module.check_mode:
        save(closing(host))
        forget(OPEN)
    return {"changed": False}


class Restoration:
    def __init__(self, host: Host, known: host_record.Changes, remove_packages: bool) -> None:
        self.host = host
        self.remove_packages = remove_packages
        self.changes = t.cast(
            host_record.Changes, {section: dict(known.get(section, {})) for section in host_record.SECTIONS}
        )
        self.restored: list[str] = []
        self.left: list[str] = []

    def run(self) -> None:
        now = self.host.read(self.changes)
        try:
            for section in ("units", "files", "sysctl"):
                for name in [name for name in self.changes[section] if not name.startswith(APT)]:
                    self.put_back(section, name, now[section][name])
            packages = self.packages([name for name, there in now["packages"].items() if there])
            for name in [name for name in self.changes["files"] if name.startswith(APT)]:
                if packages:
                    self.left.append(f"{name}: apt updates {', '.join(packages)} with it")
                else:
                    self.put_back("files", name, now["files"][name])
        finally:
            if not self.host.module.check_mode:
                save(self.changes)
                forget(OPEN)

    def put_back(self, section: str, name: str, now: host_record.Value) -> None:
        change = self.changes[section][name]
        if not host_record.same(change["before"], now):
            why = host_record.why_left(change, now)
            if why is None and section == "files":
                why = self.host.docker_rejects(name, change["before"])
            if why is not None:
                self.left.append(f"{name}: {why}")
                return
            docker = self.host.docker_does(name, change["before"]) if section == "files" else ""
            if not self.host.module.check_mode:
                self.host.put_back(section, name, change["before"])
            self.restored.append(f"{name}{self.words(section, change['before'])}{docker and f' ({docker})'}")
        del self.changes[section][name]

    @staticmethod
    def words(section: str, value: host_record.Value) -> str:
        if section == "sysctl":
            return f" = {value}"
        if section == "units":
            return f" ({'active' if value['active'] else 'stopped'}, {'enabled' if value['enabled'] else 'disabled'})"
        return " (removed)" if value is None else ""

    def packages(self, there: list[str]) -> list[str]:
        """The added packages that stay."""
        self.changes["packages"] = {name: self.changes["packages"][name] for name in there}
        if not there:
            return []
        if not self.remove_packages:
            self.left.append(f"{', '.join(there)}: packages stay, unless they are asked for")
            return there
        used = self.host.servers_in_use(there)
        self.left += [f"{name}: {why}" for name, why in used.items()]
        rest = [name for name in there if name not in used]
        why = self.host.why_kept(rest) if rest else None
        if why:
            self.left.append(f"{', '.join(rest)}: {why}")
            return there
        if rest:
            self.host.remove_packages(rest)
        self.restored += [f"{name} (removed)" for name in rest]
        self.changes["packages"] = {name: self.changes["packages"][name] for name in used}
        return list(used)


def restored(host: Host, asked: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    if services := installed_services():
        raise Failed(
            f"{', '.join(services)} is installed on this host; run playbooks/uninstall.yml first. Nothing was changed"
        )
    work = Restoration(host, closing(host), asked["remove_packages"])
    work.run()
    result = {"changed": bool(work.restored), "restored": work.restored, "left": work.left}
    return {**result, "diff": {"prepared": "".join(f"back: {line}\n" for line in work.restored)}}


def main() -> None:
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["opened", "closed", "restored"], "required": True},
            "files": {**names, "elements": "path"},
            "sysctl": names,
            "units": names,
            "packages": names,
            "remove_packages": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    act = {"opened": opened, "closed": closed, "restored": restored}[module.params["state"]]
    try:
        result = act(Host(module), module.params)
    except Failed as failed:
        module.fail_json(msg=str(failed))
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, RECORD))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
