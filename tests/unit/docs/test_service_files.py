# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reference/service-files.md: each need can be written, and the role renders what the owner's file had."""

from __future__ import annotations

import json
import re
import shlex
import typing as t

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import problems

from support.paths import ROOT
from support.services import CATALOG, KNOWN, resolved, spark, values
from unit.roles.test_release_ids import ENVIRONMENT

PAGE = (ROOT / "docs" / "reference" / "service-files.md").read_text(encoding="utf-8")
Row = dict[str, t.Any]
ROWS: list[Row] = yaml.safe_load((ROOT / "tests/fixtures/owners/service-files.yml").read_text(encoding="utf-8"))
NOT_THE_NEED = {"vllm_model", "vllm_image", "vllm_extra_args"}  # needed to be whole; the options are in the row's words
FILES = 30


def rendered(variables: Row) -> Row:
    """The service of compose.yaml, as the role's template writes it."""
    typed = values(**variables)
    text = ENVIRONMENT.get_template("compose.yaml.j2").render(
        **{name: typed[name] for name in KNOWN},
        __vllm_resolved={**resolved(spark(), **variables).as_dict(), "plan": {}},
        __vllm_release="0" * 12,
    )
    (service,) = yaml.safe_load(text)["services"].values()
    return t.cast(Row, service)


def mounts(service: Row) -> list[str]:
    """All volumes in the short form; for a file of the release only where it is to be found."""
    return [
        one
        if isinstance(one, str)
        else f"{one['source'] if '/releases/' not in one['source'] else ''}:{one['target']}"
        + (":ro" if one["read_only"] else "")
        for one in service["volumes"]
    ]


def options(words: t.Iterable[str]) -> dict[str, list[t.Any]]:
    """Words by the option that they follow; JSON as what it says."""
    found: dict[str, list[t.Any]] = {}
    last: list[t.Any] = []
    for word in words:
        name, has_value, value = word.partition("=")
        if word.startswith("--"):
            last = found.setdefault(name, [])
            last += [value] if has_value else []
        else:
            last.append(json.loads(word) if word.startswith("{") else word)
    return found


@pytest.mark.parametrize("row", ROWS, ids=[row["need"] for row in ROWS])
def test_the_role_renders_what_the_files_had(row: Row) -> None:
    assert problems("vllm", row["variables"], KNOWN, CATALOG) == []
    service = rendered(row["variables"])
    assert {name: service.get(name) for name in row.get("compose", {})} == row.get("compose", {})
    assert set(row.get("volumes", [])) <= set(mounts(service))
    wanted, given = options(shlex.split(row.get("command", ""))), options(service["command"])
    assert {name: given.get(name) for name in wanted} == wanted


def test_the_table_is_the_page() -> None:
    told = re.findall(r"^\| (.+?) \| (\d+) \| (.+?) \| (as in the file|in another way) \|$", PAGE, re.MULTILINE)
    assert [(need, int(files)) for need, files, _, _ in told] == [(row["need"], row["files"]) for row in ROWS]
    for row, (_need, _files, written, how) in zip(ROWS, told, strict=True):
        used = {name for name in row["variables"] if name not in NOT_THE_NEED} | set(
            row["variables"].get("vllm_extra_args", {})
        )
        assert {name for name in used if f"`{name}" not in written} == set()
        assert (how == "in another way") is (row.get("same") is False)


def test_the_count_of_the_page_is_that_of_the_rows() -> None:
    """What is not as in the file is a network, or a start by a request: only the second takes something away."""
    (turns,) = [row["files"] for row in ROWS if "vllm_swap_group" in row["variables"]]
    assert f"**{FILES - turns} of {FILES}**" in PAGE
