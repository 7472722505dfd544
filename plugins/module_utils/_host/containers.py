# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks Docker and systemd what a container is."""

from __future__ import annotations

import typing as t

from .._outside.text import plain
from .port_holder import Holder, holder_of, with_unit

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


class Failed(Exception):
    """What a program answered instead; the message is for the user."""


def find(module: AnsibleModule, name: str, key: str | None = None) -> Holder | None:
    """The container with that name or id; None if there is none. Its key is compared with KEY."""
    docker = module.get_bin_path("docker")
    if docker is None:  # nor a container
        return None
    rc, out, err = module.run_command([docker, "inspect", "--type", "container", "--", name])
    if rc and "no such" not in err.lower():
        raise Failed(f"docker inspect {name} ended with {rc}: {plain(err.strip())}")
    holder = holder_of(out, key) if rc == 0 else None
    if holder is None or holder["kind"] != "service":
        return holder
    systemctl, shown = module.get_bin_path("systemctl"), ""
    if systemctl:
        properties = "--property=LoadState,ActiveState,UnitFileState"
        shown = module.run_command([systemctl, "show", properties, "--", f"{holder['service']}.service"])[1]
    return with_unit(holder, shown)
