# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether lines of our own belong on the operator's screen."""

from __future__ import annotations

from ansible import constants as C
from ansible.errors import AnsibleError

# Output for machines has no room for lines of our own.
MACHINE_READABLE = ("json", "jsonl", "null")


def is_wanted_on_screen() -> bool:
    """False when a program reads the output, or the operator wants to see nothing but trouble."""
    callback = C.DEFAULT_STDOUT_CALLBACK
    if callback.rpartition(".")[2] in MACHINE_READABLE:
        return False
    try:
        return bool(C.config.get_config_value("display_ok_hosts", plugin_type="callback", plugin_name=callback))
    except AnsibleError:  # a callback that knows no such setting shows everything
        return True
