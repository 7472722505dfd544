#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One deployment of a service at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Let one run at a time deploy a service
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Takes the lock of a service on a host, or fails and says who holds it, from which machine and since when.
  - A run that holds the lock renews it by taking it once more.
  - A lock heals by itself. It ends with the boot of the host, with its lease, and at once when the run that holds it was
    started on the same machine as this one and is over, however it ended.
  - The action plugin of the same name fills in who asks. Without it the module does nothing of use.
options:
  service:
    description: Name of the service, as C(vllm_service_name) of the role P(dgxspark.vllm.vllm#role).
    type: str
    required: true
  state:
    description: V(held) takes or renews the lock, V(free) gives it back if this run holds it.
    type: str
    choices: [held, free]
    default: held
  lease:
    description: For how long, in seconds, the lock is held if nobody renews it or gives it back.
    type: int
    default: 7200
  run:
    description: The run that asks. Set by the action plugin.
    type: dict
    default: {}
  dead:
    description: A run that is over, whatever its lock says. Set by the action plugin.
    type: str
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
    details: Fails where the lock is held, and takes nothing.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: A second run changes nothing.
    details: A lock is no change of the host, and never counts as one.
notes:
  - The lock is a file in C(/run), so it needs root.
"""

EXAMPLES = r"""
- name: Deploy alone
  become: true
  block:
    - name: Take the lock
      dgxspark.vllm.deploy_lock:
        service: vllm
    - name: Deploy
      ansible.builtin.include_role:
        name: my_deployment
  always:
    - name: Give it back
      dgxspark.vllm.deploy_lock:
        service: vllm
        state: free
"""

RETURN = r"""
holder:
  description: Who holds the lock now. V(null) if nobody does.
  returned: always
  type: dict
  contains:
    run:
      description: Name of the run.
      type: str
    machine:
      description: The controller's boot and process namespace.
      type: str
    user:
      description: Who started it.
      type: str
    controller:
      description: Name of the machine on which it was started.
      type: str
    since:
      description: When it took the lock, in seconds since 1970.
      type: float
    until:
      description: When its lease ends, in seconds since 1970.
      type: float
  sample:
    run: 4f1c/4026531836/2211/903312
    machine: 4f1c/4026531836
    user: operator
    controller: laptop
    since: 1795644000.0
    until: 1795651200.0
healed:
  description: Whether the lock of a run that is over was taken.
  returned: always
  type: bool
  sample: false
"""

import fcntl
import json
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy_lock import Holder, holder_after, parse

FOLDER = "/run/dgxspark.vllm"


def change(
    path: str, run: Holder, lease: int, dead: str | None, free: bool, dry: bool
) -> tuple[Holder | None, bool, bool]:
    """Who holds the lock in the end, whether that is as wanted, and whether a dead one was taken."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # only while it is read and written
        held = parse(file.read())
        mine = held is not None and held["run"] == run["run"]
        after = (None if mine else held) if free else holder_after(held, run, time.time(), lease, dead)
        if not free and after is None:
            return held, False, False
        if not dry:
            file.seek(0)
            file.truncate()
            file.write(json.dumps(after) if after else "")
        return after, True, held is not None and not mine and not free


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["held", "free"], "default": "held"},
            "lease": {"type": "int", "default": 7200},
            "run": {"type": "dict", "default": {}},
            "dead": {"type": "str"},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not options["run"]:
        module.fail_json(msg="deploy_lock: run is empty; call it from a task, where its action plugin fills it in")
    try:
        holder, fine, healed = change(
            f"{FOLDER}/{options['service']}.lock",
            options["run"],
            options["lease"],
            options["dead"],
            options["state"] == "free",
            module.check_mode,
        )
    except OSError as error:
        module.fail_json(msg=f"deploy_lock: {error.filename or FOLDER}: {error.strerror}. The lock needs root")
    module.exit_json(changed=False, holder=holder, healed=healed, refused=not fine)


if __name__ == "__main__":
    main()
