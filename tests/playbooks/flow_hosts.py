# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts in which something goes wrong, and the table in the end of a run."""

from __future__ import annotations

import re
import typing as t

from role_on_standins import R1, R2, R3, health, host_info

BROKEN = {"failed": True, "msg": "it is broken", "cause": {"id": "x", "change": {}}}
TOO_LONG = {**BROKEN, "msg": "too long", "cause": {"id": "y", "change": {"vllm_max_model_len": 5}}}
SETS = {"vllm_extra_env": {"A": "1"}}
AVOIDABLE = {**BROKEN, "msg": "bad kernel", "cause": {"id": "z", "change": {}, "sets": SETS}}
TRIAL = {
    "id": "t",
    "kind": "container",
    "name": "trial",
    "renamed": None,
    "running": True,
    "service": None,
    "enabled": False,
    "restart": "no",
    "published": "127.0.0.1:8001",
    "is_vllm": True,
    "auto_remove": False,
    "description": "the container trial",
}
SERVES = {"spark_info": [host_info(R1)], "vllm_health": [health("ready", R1), health("ready", R2)]}
GOOD = {"good": [R1], "current": R1, "answers": SERVES}
BESIDE = {
    "spark_info": [host_info(R1, {"container": "trial"})],
    "vllm_conflicts_info": [{"conflicts": [], "holders": [TRIAL]}],
}
TRIAL_REFUSED = {"id": "take_over_disabled", "text": "the container trial is in the way. Stop it"}
IN_THE_WAY = {**BESIDE, "vllm_conflicts_info": [{"conflicts": [TRIAL_REFUSED], "holders": [TRIAL]}]}
HOSTS: dict[str, dict[str, t.Any]] = {
    # what is proven, and cannot be marked as good
    "unmarked": {"good": [R1], "current": R1, "answers": SERVES},
    "unmarked-remedy": {
        "good": [R1],
        "current": R1,
        "vllm_auto_remedy": True,
        "answers": {**SERVES, "vllm_health": [health("ready", R1), TOO_LONG, health("ready", R3)]},
    },
    "avoidable": {
        "good": [R1],
        "current": R1,
        "vllm_auto_remedy": True,
        "answers": {**SERVES, "vllm_health": [health("ready", R1), AVOIDABLE, health("ready", R3)]},
    },
    # the release has what would avoid it: its name does not change
    "avoided-already": {
        "good": [R1],
        "current": R1,
        "vllm_auto_remedy": True,
        "remedied": R2,
        "answers": {**SERVES, "vllm_health": [health("ready", R1), AVOIDABLE, health("ready", R1)]},
    },
    # a run was broken off before it could mark it
    "resumed": {
        "good": [R1],
        "current": R2,
        "answers": {"spark_info": [host_info(R2)], "vllm_health": [health("ready", R2)]},
    },
    "broken": {
        "good": [R3, R1],
        "current": R1,
        "answers": {**SERVES, "vllm_health": [health("ready", R1), BROKEN, health("ready", R1)]},
    },
    # R1 and somebody's container serve, on two ports; or the container alone
    "beside": {
        "good": [R3, R1],
        "current": R1,
        "answers": {**BESIDE, "vllm_health": [health("ready", R1), BROKEN, health("ready"), health("ready", R1)]},
    },
    "alone": {
        "good": [R3, R1],
        "current": R1,
        "answers": {**BESIDE, "vllm_health": [health("ready", R1, "inactive"), BROKEN, health("ready")]},
    },
    "given-back-in-vain": {
        "good": [R1],
        "current": R1,
        "answers": {**BESIDE, "vllm_health": [health("ready", R1), BROKEN, BROKEN, health("ready", R1)]},
    },
    # of two that made room, one does not come back
    "one-of-two": {
        "good": [R1],
        "current": R1,
        "answers": {
            **BESIDE,
            "vllm_conflicts_info": [{"conflicts": [], "holders": [TRIAL, {**TRIAL, "name": "second"}]}],
            "vllm_health": [health("ready", R1), BROKEN, BROKEN, health("ready"), health("ready", R1)],
        },
    },
    # the switch fails before it stops anything
    "blocked": {"good": [R3, R1], "current": R1, "answers": SERVES, "guard": "false"},
    # an owner's file, folder and unit have names of ours
    "owners-file": {"good": [R1], "current": R1, "answers": SERVES},
    "owners-folder": {"good": [R1], "current": R1, "answers": SERVES},
    # a run was broken off between the link and the start: R1 serves, and is wanted again
    "half-switched": {
        "wanted": R1,
        "good": [R1],
        "current": R2,
        "answers": {
            "spark_info": [host_info(R1)],
            "vllm_health": [health("degraded", R1, cause=dict.fromkeys(["meaning", "evidence", "remedy"], "busy"))],
        },
    },
    # it serves with the secrets of a later release, after a rollback
    "other-secrets": {
        "wanted": R1,
        "good": [R1],
        "current": R1,
        "answers": {"spark_info": [host_info(R1)], "vllm_health": [health("ready", R1)]},
    },
    # the port is somebody's, and may not be taken
    "refused": {"vllm_take_over": False, "answers": {**IN_THE_WAY, "vllm_health": [health("absent")]}},
}  # fmt: skip


def rows(output: str) -> dict[str, tuple[str, str]]:
    """Seconds down and verdict, by host, of the table; it is there exactly once."""
    lines = output.splitlines()
    (begin,) = (number for number, line in enumerate(lines) if "old release" in line)
    found = {}
    for line in lines[begin + 1 :]:
        cells = re.split(r" {2,}", line)
        if len(cells) < 5 or line.startswith("To "):
            break
        found[cells[0]] = (cells[3].removesuffix(" s"), cells[4])
    return found
