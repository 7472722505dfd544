# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service in folders of the test, and programs that only say that they were called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.dgxspark.vllm.roles.vllm.files import guard
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import Service

# What the release of a group has.
NATIVE = {"nodes": ["127.0.0.1", "127.0.0.2"], "rank": 0, "master_port": 29501}


def release(service: Service, name: str, **parameters: Any) -> None:
    parameters = {"url": "http://127.0.0.1:8000", **parameters}
    folder = service.home / "releases" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "release.json").write_text(json.dumps(parameters))
    service.current.unlink(missing_ok=True)
    service.current.symlink_to(f"releases/{name}")


def meminfo(proc: Path, free: int, available: int) -> None:
    text = f"MemTotal: {120 << 20} kB\nMemFree: {free << 20} kB\nMemAvailable: {available << 20} kB\n"
    (proc / "meminfo").write_text(text)


def program(calls: Path, name: str, script: str) -> None:
    path = calls.parent / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{calls}"\n{script}\n')
    path.chmod(0o755)


def write_link(service: Service, linked: bool) -> None:
    guard.write_json(service.link, {"boot": "first-boot", "linked": linked})
