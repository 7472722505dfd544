#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes and applies the netplan file of a fabric, with a way back that needs no connection."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fabric_netplan
short_description: Write and apply the netplan file of a fabric, with a timed fall-back
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Manages C(/etc/netplan/60-dgxspark-fabric.yaml), mode 0600. Other files of netplan are not changed.
  - O(state=trial) writes O(content) to a file of the same name in C(/run/netplan), which hides the one in C(/etc), and
    applies it. A transient timer of systemd removes the trial after O(timeout) seconds and applies what was there
    before. So does a restart of the host.
  - O(state=confirmed) stops the timer and moves the trial to C(/etc). Run it over a new connection, which proves that
    the host can still be reached.
  - With the wanted file and addresses in place, O(state=trial) changes nothing.
options:
  state:
    description: Which of the two steps to take.
    type: str
    choices: [trial, confirmed]
    required: true
  content:
    description: Content of the file. Empty removes the file.
    type: str
    required: true
  timeout:
    description: Seconds after which an unconfirmed trial is taken back.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
    description: Can run in check mode. C(netplan generate) checks the file in a temporary folder.
  diff_mode:
    support: full
    description: Shows the file before and after.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - Requires root, netplan and systemd.
  - C(netplan apply) reloads systemd.
seealso:
  - module: dgxspark.vllm.fabric_info
"""

EXAMPLES = r"""
- name: Apply the addresses for a while
  dgxspark.vllm.fabric_netplan:
    state: trial
    content: "{{ plan.files[inventory_hostname] }}"
  become: true

- name: Connect anew
  ansible.builtin.meta: reset_connection

- name: Keep them
  dgxspark.vllm.fabric_netplan:
    state: confirmed
    content: "{{ plan.files[inventory_hostname] }}"
  become: true
"""

RETURN = r"""
pending:
  description: Whether a trial runs, which has to be confirmed.
  returned: success
  type: bool
  sample: true
"""

import contextlib
import glob
import os
import shlex
import shutil
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import fabric
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem

UNIT = "dgxspark-fabric-fallback"
WAIT = 20.0  # seconds for addresses to appear


class Failed(Exception):
    pass


class Netplan:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.content: str = module.params["content"]
        if self.content and not self.content.startswith(fabric.MARKER):
            raise Failed(f"content: must begin with {fabric.MARKER!r}, by which the file is known as ours")
        for path in (fabric.FILE, fabric.TRIAL):
            if os.path.lexists(path) and not fabric.is_ours(path):
                raise Failed(f"{path} is not a file of this collection. Nothing was changed. Move it away")
        self.before = self.text(fabric.FILE)
        self.is_nothing = not (self.content or self.before or os.path.exists(fabric.TRIAL))
        self.netplan, self.ip, self.systemctl, self.systemd_run = (
            module.get_bin_path(name, required=not self.is_nothing, opt_dirs=["/usr/sbin", "/sbin"])
            for name in ("netplan", "ip", "systemctl", "systemd-run")
        )

    @staticmethod
    def text(path: str) -> str:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def run(self, *argv: str) -> str:
        code, out, err = self.module.run_command(list(argv), environ_update={"LC_ALL": "C", "LANGUAGE": "C"})
        if code != 0:
            raise Failed(f"{shlex.join(argv[:3])}: {' '.join((err or out).split()) or f'exit status {code}'}")
        return str(out)

    def addresses(self) -> dict[str, fabric.Facts]:
        return fabric.parse_addresses(self.run(self.ip, "-j", "addr"))

    # ---- trial

    def trial(self) -> fabric.Facts:
        if self.is_nothing:  # also where there is no netplan
            return {"changed": False, "pending": False}
        is_right = self.before == self.content and not fabric.missing(self.content, self.addresses())
        if is_right and self.content:
            is_right = os.stat(fabric.FILE).st_mode & 0o7777 == 0o600
        changed = not is_right or os.path.exists(fabric.TRIAL)
        result: fabric.Facts = {"changed": changed, "pending": changed}
        if changed and self.module._diff:
            result["diff"] = {"before": self.before, "after": self.content, "before_header": fabric.FILE}
        if changed:
            self.validate()
        if changed and not self.module.check_mode:
            self.apply()
        return result

    def validate(self) -> None:
        """netplan reads all of its files together, so the new one is checked among the others."""
        root = tempfile.mkdtemp()
        try:
            for folder in fabric.FOLDERS:
                os.makedirs(root + folder)
                for path in glob.glob(f"{folder}/*.yaml"):
                    if path not in (fabric.FILE, fabric.TRIAL):
                        shutil.copy(path, root + path)
            if self.content:
                write(root + fabric.FILE, self.content)
            self.run(self.netplan, "generate", "--root-dir", root)
        except Failed as failed:
            raise Failed(f"{str(failed).replace(root, '')}. Nothing was changed") from None
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def apply(self) -> None:
        # the timer first: from here on there is a way back
        with contextlib.suppress(Failed):
            self.run(self.systemctl, "stop", f"{UNIT}.timer")
        self.run(
            *(self.systemd_run, f"--unit={UNIT}", "--collect", f"--on-active={self.module.params['timeout']}s"),
            *("--timer-property=AccuracySec=1s", "/bin/sh", "-c", self.way_back()),
        )
        formers = (self.before, self.text(fabric.TRIAL))  # the latter of a run that was interrupted
        try:
            write(fabric.TRIAL, self.content or f"{fabric.MARKER}\nnetwork:\n  version: 2\n")
            self.run(self.netplan, "apply")
            for arguments in [words for former in formers for words in fabric.leftovers(former, self.content, {})]:
                with contextlib.suppress(Failed):  # netplan may have removed it
                    self.run(self.ip, *arguments)
        except (Failed, OSError) as error:
            self.go_back(f"{error}")

    def way_back(self) -> str:
        """As one line for a shell: neither Python nor a connection is needed."""
        mtus = {name: int(fabric.read(f"/sys/class/net/{name}/mtu") or 1500) for name in fabric.own_mtus(self.content)}
        removed = fabric.leftovers(self.content, self.before, {**mtus, **fabric.own_mtus(self.before)})
        commands = [["rm", "-f", fabric.TRIAL], [self.netplan, "apply"], *([self.ip, *words] for words in removed)]
        return "; ".join(map(shlex.join, commands))

    def go_back(self, why: str) -> None:
        with contextlib.suppress(Failed):
            self.run("/bin/sh", "-c", self.way_back())
        with contextlib.suppress(Failed):
            self.run(self.systemctl, "stop", f"{UNIT}.timer")
        raise Failed(f"{why}. What was there before is applied again")

    # ---- confirmed

    def confirmed(self) -> fabric.Facts:
        if not os.path.exists(fabric.TRIAL):
            if self.before == self.content:
                return {"changed": False, "pending": False}
            if self.module.check_mode:  # nothing was tried
                return {"changed": True, "pending": False}
            raise Failed("the trial was taken back, because it was not confirmed in time or the host restarted")
        if self.module.check_mode:
            return {"changed": True, "pending": True}
        end = time.monotonic() + WAIT
        while fabric.missing(self.content, self.addresses()):
            if time.monotonic() > end:
                absent = ", ".join(fabric.missing(self.content, self.addresses()))
                self.go_back(f"netplan was applied, and {WAIT:.0f} s later there is no {absent}")
            time.sleep(0.5)
        try:
            self.run(self.systemctl, "stop", f"{UNIT}.timer")  # of one that has elapsed it fails
            os.stat(fabric.TRIAL)
        except (Failed, FileNotFoundError):
            raise Failed("the trial was taken back before it was confirmed") from None
        if self.content:
            write(fabric.FILE, self.content)
        elif os.path.exists(fabric.FILE):
            os.unlink(fabric.FILE)
        os.unlink(fabric.TRIAL)
        return {"changed": True, "pending": False}


def write(path: str, content: str) -> None:
    """At once, and for root alone: netplan warns about anything else."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    descriptor, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".60-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def run(module: AnsibleModule) -> fabric.Facts:
    netplan = Netplan(module)
    return netplan.trial() if module.params["state"] == "trial" else netplan.confirmed()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["trial", "confirmed"], "required": True},
            "content": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except Failed as failed:
        module.fail_json(msg=str(failed))
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, fabric.FILE))


if __name__ == "__main__":
    main()
