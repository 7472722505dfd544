#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One deployment of a service at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy_lock
short_description: Locks a service, so that one run at a time deploys it
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Takes the lock of a service on a host. If another run holds it, the task fails and names the user and the machine
    that started the other run, and the time since when it holds the lock.
  - A run that holds the lock renews it by taking it again.
  - A stale lock is removed automatically. A lock expires when the host reboots, when its lease ends, and immediately if
    the run that holds it was started on the same machine as this one and has ended, for whatever reason.
  - The action plugin of the same name supplies O(run) and checks whether the other run has ended.
options:
  service:
    description: Name of the service, as C(vllm_service_name) of the role P(dgxspark.vllm.vllm#role).
    type: str
    required: true
  state:
    description:
      - V(present) takes or renews the lock.
      - V(absent) releases it if this run holds it.
    type: str
    choices: [present, absent]
    default: present
  lease:
    description: Seconds after which the lock expires unless it is renewed or released.
    type: int
    default: 7200
  since:
    description:
      - Time by the clock of the host, in seconds since 1970, at which this run has read the host. RV(used_since) says
        whether that still holds.
    type: float
  run:
    description: The run that requests the lock. Set by the action plugin.
    type: dict
    suboptions:
      run:
        description: Identifier of the run.
        type: str
        required: true
      user:
        description: User who started it.
        type: str
        required: true
      controller:
        description: Name of the machine on which it was started.
        type: str
        required: true
  dead:
    description: Identifier of a run that has ended, and whose lock is ignored. Set by the action plugin.
    type: str
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
    details: Fails if another run holds the lock, and does not take it.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: A second run changes nothing.
    details: A lock is not a change of the host and is never reported as one.
notes:
  - The lock is a file in C(/run), so the module requires root.
"""

EXAMPLES = r"""
- name: Deploy while no other run does
  become: true
  block:
    - name: Take the lock
      dgxspark.vllm.deploy_lock:
        service: vllm
    - name: Deploy
      ansible.builtin.include_role:
        name: my_deployment
  always:
    - name: Release the lock
      dgxspark.vllm.deploy_lock:
        service: vllm
        state: absent
"""

RETURN = r"""
holder:
  description: The run that holds the lock now. V(null) if none does.
  returned: always
  type: dict
  contains:
    run:
      description: Identifier of the run.
      type: str
    user:
      description: User who started it.
      type: str
    controller:
      description: Name of the machine on which it was started.
      type: str
    since:
      description: Time at which it took the lock, in seconds since 1970 by the clock of the host.
      type: float
    until:
      description: Time at which its lease ends, in seconds since 1970 by the clock of the host.
      type: float
  sample:
    run: 4f1c0e52-90a4-4f0c-a5d0-5e3a7d7e0c11/4026531836/2211/903312
    user: operator
    controller: laptop
    since: 1795644000.0
    until: 1795651200.0
healed:
  description: The run whose stale lock was replaced, with the fields of RV(holder). V(null) if there is none.
  returned: always
  type: dict
  sample: null
used_since:
  description:
    - Whether the lock was taken, renewed or released after O(since), so that another run may have changed the service.
      V(true), too, if that was up to a second before it.
  returned: always
  type: bool
  sample: false
lock_file:
  description: Path of the lock file on the host.
  returned: always
  type: str
  sample: /run/dgxspark.vllm/vllm.lock
"""

import errno
import fcntl
import json
import math
import os
import re
import stat
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.lock import Holder, holder_after, parse
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem

FOLDER = "/run/dgxspark.vllm"
LONGEST = 4096  # bytes of a lock's file
NEVER = -math.inf


def open_lock(path: str, make: bool, write: bool) -> t.TextIO | None:
    """The lock's file, and nothing else that may have its name; None if it is not there and not to be made."""
    if make:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    how = os.O_RDWR if write else os.O_RDONLY
    try:
        # 0600: who may open it may lock it, and let everybody wait
        descriptor = os.open(
            path, how | (os.O_CREAT if make else 0) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
    except FileNotFoundError:
        if make:
            raise
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "", path)
    return os.fdopen(descriptor, "r+" if write else "r", encoding="utf-8", errors="replace")


class Change(t.NamedTuple):
    holder: Holder | None  # in the end
    fine: bool  # whether that is as wanted
    healed: Holder | None  # whose dead lock was taken
    written: float  # when the file was last written before, in seconds since 1970, or NEVER


def change(path: str, run: Holder, lease: int, dead: str | None, free: bool, dry: bool) -> Change:
    was_there = os.path.exists(path)
    file = open_lock(path, make=not (dry or free), write=not dry)
    if file is None:
        return Change(None, True, None, NEVER)
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)  # only while it is read and written
        written = os.fstat(file.fileno()).st_mtime if was_there else NEVER
        held = parse(file.read(LONGEST))
        mine = held is not None and held["run"] == run["run"]
        if free:
            after = None if mine else held
        else:
            after = holder_after(held, run, since_boot(), lease, dead)
            if after is None:
                return Change(held, False, None, written)
        if dry:
            return Change(held, True, None, written)
        if after != held:
            file.seek(0)
            file.truncate()
            file.write(json.dumps(after) if after else "")
        return Change(after, True, None if mine or free else held, written)


def since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def by_the_clock(holder: Holder | None) -> Holder | None:
    """The same with times that people read."""
    boot = time.time() - since_boot()
    return holder and {**holder, **{name: round(holder[name] + boot, 3) for name in ("since", "until")}}


def main() -> None:
    word = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "lease": {"type": "int", "default": 7200},
            "since": {"type": "float"},
            "run": {"type": "dict", "options": {"run": word, "user": word, "controller": word}},
            "dead": {"type": "str"},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", options["service"]):
        module.fail_json(msg=f"service: {options['service']!r} is not allowed; use letters, digits and . _ -")
    if options["lease"] < 1:
        module.fail_json(msg=f"lease: {options['lease']} is not allowed; use 1 second or more")
    if not options["run"]:
        module.fail_json(msg="run: it is empty; call deploy_lock from a task, where its action plugin fills it in")
    path = f"{FOLDER}/{options['service']}.lock"
    try:
        found = change(
            path, options["run"], options["lease"], options["dead"], options["state"] == "absent", module.check_mode
        )
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR):
            module.fail_json(msg=f"{path} is not a plain file, and not ours. Look what it is, and remove it")
        module.fail_json(msg=os_problem.one_line(error, path))
    since = options["since"]
    module.exit_json(
        changed=False,
        holder=by_the_clock(found.holder),
        healed=by_the_clock(found.healed),
        refused=not found.fine,
        # SINCE may be rounded; a run that is dead now may have gone on after it
        used_since=since is not None and (found.written > since - 1 or found.healed is not None),
        lock_file=path,
    )


if __name__ == "__main__":
    main()
