# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What wins over what, and the cap of the memory, are stated once each: in _plan/layers.py, _plan/share.py and a page.

The role reads the result.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.paths import ROOT

JINJA = [
    *(path for part in ("tasks", "templates", "vars", "handlers") for path in (ROOT / "roles").glob(f"*/{part}/**/*")),
    *(ROOT / "playbooks").glob("*.yml"),
    ROOT / "site.yml",
]
PLUGINS = list((ROOT / "plugins").rglob("*.py"))
PYTHON = [path for path in PLUGINS if "_plan" not in path.parts]
RESOLVER = "dgxspark.vllm.service"


def holding(pattern: str, paths: list[Path]) -> dict[str, int]:
    found = {}
    for path in paths:
        number = len(re.findall(pattern, path.read_text(encoding="utf-8"))) if path.is_file() else 0
        if number:
            found[path.name] = number
    return found


def test_each_role_resolves_in_one_place() -> None:
    """The list of models resolves each, and the one of the inventory with its options; monitoring asks for the folders,
    and how the container gets the GPU."""
    vllm, monitoring = {"resolve.yml": 1, "list_models.yml": 2}, {"exporters.yml": 1, "check_reload.yml": 1}
    assert holding(rf"(lookup|query)\('{RESOLVER}'", JINJA) == {**vllm, **monitoring}


@pytest.mark.parametrize(
    "pattern",
    [
        r"dgxspark\.vllm\.(model|profile|image)'",  # the lookups: the resolver looks up
        r"dgxspark\.vllm\.(memory_plan|vllm_argv)\b",  # the filters: the resolver plans, and makes the command line
        r"\b(image_args|image_environment|per_image)\b",
        r"\|\s*combine\([^)]*(args|environment|vllm_extra)",
        r"memory_reserve_gib[^}\n]*[-*/]\s*\d",
        r"vllm_home or|vllm_container_name or|vllm_publish_address or",
    ],
)
def test_no_second_statement_in_jinja(pattern: str) -> None:
    assert holding(pattern, JINJA) == {}


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        (r"\"image_args\"|'image_args'", {"per_image.py"}),  # which makes them
        (r"\[\"vllm_memory_reserve_gib\"\]", {"vllm.py"}),  # its range
        (r"utilization_cap|\.cap\b", {"service.py"}),  # the page of the lookup
        (r"f\"/opt/\{", set()),
    ],
)
def test_no_second_statement_in_python(pattern: str, files: set[str]) -> None:
    assert set(holding(pattern, PYTHON)) == files


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        (r"\b(profile|image)\[\"(args|environment)\"\]", {"layers.py"}),
        (r"values\[\"vllm_extra_(args|env)\"\]", {"layers.py", "choice.py"}),  # which file is read by them
        (r"\[(_SHARE|\"vllm_gpu_memory_utilization\")\]", {"layers.py", "budget.py", "model.py"}),  # as it was set
        (r"\b0\.95\b(?! \* entry)", {"share.py", "fleet.py", "memory_plan.py"}),  # a full KV cache; a page
    ],
)
def test_one_statement_in_python(pattern: str, files: set[str]) -> None:
    assert set(holding(pattern, PLUGINS)) == files


def test_one_page_states_the_precedence() -> None:
    """The others refer to it."""
    pages = [*PLUGINS, *(ROOT / "docs").rglob("*.md"), *(ROOT / "roles").glob("*/meta/*.yml"), ROOT / "README.md"]
    assert holding(r"precedence, from low to high", pages) == {"memory.md": 1}
