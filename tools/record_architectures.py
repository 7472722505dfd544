#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record which model architectures each version of vLLM knows, from its source, without importing it.

    tools/record_architectures.py VERSION=SOURCE... > catalog/architectures.yml

SOURCE is the unpacked source distribution or wheel (the folder that holds vllm/). The registry's dictionaries are read
from the syntax tree. Give every version, in any order: the file says of each architecture in which of them it is.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

REGISTRY = "vllm/model_executor/models/registry.py"
# What a version does not run any more, or only with a plugin.
_NOT_RUN = ("_PREVIOUSLY_SUPPORTED_MODELS", "_OOT_SUPPORTED_MODELS")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def architectures(source: Path) -> set[str]:
    """The keys of the registry's dictionaries."""
    found: set[str] = set()
    for node in ast.parse((source / REGISTRY).read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        name = target.id if isinstance(target, ast.Name) else ""
        value = getattr(node, "value", None)
        if name.endswith("_MODELS") and name not in _NOT_RUN and isinstance(value, ast.Dict):
            keys = (key.value for key in value.keys if isinstance(key, ast.Constant))
            found |= {key for key in keys if isinstance(key, str)}
    return found


def spans(known: dict[str, set[str]]) -> dict[str, dict[str, str]]:
    """For each architecture the first version that has it, if not the first of all, and the last one, if it went."""
    versions = list(known)
    found: dict[str, dict[str, str]] = {}
    for name in sorted(set().union(*known.values()), key=str.lower):
        having = [version for version in versions if name in known[version]]
        span = {}
        if having[0] != versions[0]:
            span["since"] = having[0]
        if having[-1] != versions[-1]:
            span["until"] = having[-1]
        found[name] = span
    return found


def dump(known: dict[str, set[str]]) -> str:
    lines = [
        "---",
        "# Model architectures that vLLM knows, recorded from the source of these versions. Do not edit.",
        "# Made with: tools/record_architectures.py VERSION=SOURCE...",
        "# since: the first of these versions that has it, if not the first of all; until: the last one, if it went.",
        "versions:",
        *(f"  - {version}" for version in known),
        "architectures:",
    ]
    for name, span in spans(known).items():
        text = ", ".join(f"{key}: {value}" for key, value in span.items())
        lines.append(f"  {name}: {{{text}}}")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="VERSION=SOURCE")
    pairs = [item.partition("=") for item in parser.parse_args().sources]
    pairs.sort(key=lambda pair: numbers(pair[0]))
    sys.stdout.write(dump({version: architectures(Path(source)) for version, _equals, source in pairs}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
