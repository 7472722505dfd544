# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Old names of variables. One that is still in an inventory is answered with its new name."""

from __future__ import annotations

RENAMED = {
    "vllm_hf_cache": "hf_cache_path",
    "vllm_memory_plan": "vllm_enforce_memory_plan",
    "vllm_roll_back_to": "vllm_rollback_release",
}


def renamed(name: str) -> str | None:
    """The line for an old name, None for any other."""
    new = RENAMED.get(name)
    return f"{name}: was renamed to {new}; rename it where it is set" if new else None
