# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the collection's own YAML files, each once in a process."""

from __future__ import annotations

import typing as t
from functools import cache
from pathlib import Path

import yaml

COLLECTION = Path(__file__).resolve().parents[3]


@cache
def read(path: Path) -> t.Any:
    # libyaml is ten times faster; it is in every wheel of PyYAML, not in every build
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open("rb") as stream:
        return yaml.load(stream, Loader=loader)


def preload() -> None:
    """Reads those that every plan needs. An action plugin that calls this as it is imported does so in the process of
    ansible-playbook, whose forks, one for each task and host, inherit what was read."""
    for pattern in ("catalog/*.yml", "catalog/models/*.yml", "roles/*/meta/argument_specs.yml"):
        for path in COLLECTION.glob(pattern):
            read(path)
