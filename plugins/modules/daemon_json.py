#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: daemon_json
short_description: Merge options into Docker's daemon.json and have Docker read it
version_added: "0.1.0"
description:
  - Merges options into C(/etc/docker/daemon.json), and keeps all other keys, the owner and the mode of the file. If the
    file is a link, its target is written.
  - A note on the host says what was written until Docker runs with it, so a later run completes an interrupted one.
  - Passwords in addresses, and values of keys that name a token, a secret or a password, are C(********) in the diff
    and in messages. If O(options) hold one, set C(no_log) for the task, because its arguments are logged.
options:
  state:
    description:
      - V(present) merges O(options) into the file, after C(dockerd --validate) has accepted the result (Docker 23 and
        newer), and returns RV(apply). Docker is not touched.
      - V(applied) reloads or restarts Docker, as RV(apply) said, and starts the containers again that ran before a
        restart. If Docker rejects the file, the previous one is restored, and the task fails. Changes nothing if
        Docker has read the file.
    type: str
    choices: [present, applied]
    default: present
  options:
    description: With O(state=present), options to merge, as by P(dgxspark.vllm.merge_daemon_json#filter).
    type: dict
    default: {}
  restart:
    description: With O(state=present), restart Docker even if the file does not change.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Can run in check mode. With O(state=applied), nothing is done.
  diff_mode:
    support: full
    description: Shows the file without its secrets.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - Requires root, and Docker as the unit C(docker.service).
  - Docker reloads runtimes, registries, labels and a few limits. Any other key needs a restart.
  - Containers of services of this collection are started by systemd, not by this module.
author:
  - The dgxspark.vllm authors (@dgxspark)
seealso:
  - module: dgxspark.vllm.spark_info
"""

EXAMPLES = r"""
- name: Add a mirror
  dgxspark.vllm.daemon_json:
    options:
      registry-mirrors: [https://mirror.example]
  become: true

- name: Have Docker read it
  dgxspark.vllm.daemon_json:
    state: applied
  become: true
"""

RETURN = r"""
apply:
  description: How Docker reads the file. V(none) if it has read it.
  returned: with O(state=present)
  type: str
  sample: reload
changed_keys:
  description: Keys of the file that were changed.
  returned: with O(state=present)
  type: list
  elements: str
  sample: [runtimes]
containers:
  description: Names of the running containers that a restart interrupts. Empty without a restart.
  returned: with O(state=present)
  type: list
  elements: str
  sample: []
started:
  description: Names of the containers that were started again.
  returned: with O(state=applied)
  type: list
  elements: str
  sample: []
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import daemon_json
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.docker_daemon import Daemon, Failed, File, Note
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem


def present(module: AnsibleModule, file: File, daemon: Daemon) -> daemon_json.Facts:
    before, error = daemon_json.parse(file.text)
    if error:
        raise Failed(f"{daemon_json.PATH} cannot be merged: {error}. Correct the file, or move it away, and run again")
    content = before or {}
    try:
        after = daemon_json.merge(content, module.params["options"])
    except ValueError as contradiction:
        raise Failed(f"options: {contradiction}") from contradiction
    keys = daemon_json.changed_keys(content, after)
    note = Note.read()
    if note and daemon.active and note.invocation != daemon.invocation:  # it was started since, with that file
        if not module.check_mode:
            daemon.finish(note)
        note = None
    apply = daemon.needs(keys, after, note, module.params["restart"])
    running = daemon.running() if apply == "restart" else []
    if keys:
        daemon.validate(daemon_json.render(after))
    if apply != "none" and not module.check_mode:
        kept = note or Note(existed=file.text is not None, backup=file.backup() if keys else None)
        kept.written = kept.written or bool(keys)
        kept.restart, kept.invocation = apply == "restart", daemon.invocation
        kept.containers = [container for container in running if not container["service"]] or kept.containers
        kept.write()
        if keys:
            file.write(daemon_json.render(after))
    result: daemon_json.Facts = {"changed": apply != "none", "apply": apply, "changed_keys": keys}
    if keys and module._diff:
        shown = [daemon_json.render(daemon_json.mask(text)) if text is not None else "" for text in (before, after)]
        result["diff"] = {"before": shown[0], "after": shown[1], "before_header": daemon_json.PATH}
    return {**result, "containers": sorted(container["name"] for container in running)}


def applied(module: AnsibleModule, file: File, daemon: Daemon) -> daemon_json.Facts:
    note = Note.read()
    if note is None or module.check_mode:
        return {"changed": False, "started": []}
    reason = daemon.restart() if note.restart else daemon.reload()
    if reason is None:
        return {"changed": True, "started": daemon.finish(note)}
    if not note.written:
        raise Failed(f"Docker does not start: {reason}")
    file.restore(note)
    if note.restart:
        daemon.start()
    daemon.finish(note)
    raise Failed(
        f"Docker does not accept the merged {daemon_json.PATH}: {reason}."
        " The previous file is restored, and Docker runs with it. Correct container_runtime_daemon_options"
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "applied"], "default": "present"},
            "options": {"type": "dict", "default": {}},
            "restart": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    act = present if module.params["state"] == "present" else applied
    try:
        result = act(module, File(module), Daemon(module))
    except Failed as failed:
        module.fail_json(msg=daemon_json.mask_text(str(failed)))
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, daemon_json.PATH))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
