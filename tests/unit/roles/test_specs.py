# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Defaults and argument specs of a role say the same; whoever changes one has to change the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(folder.name for folder in (ROOT / "roles").iterdir() if folder.is_dir())


def defaults(role: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text()) or {}


def specs(role: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]


def every_option() -> list[Any]:
    return [
        pytest.param(role, option, id=f"{role}-{entry}-{name}")
        for role in ROLES
        for entry, spec in specs(role).items()
        for name, option in spec.get("options", {}).items()
    ]


def test_there_are_roles() -> None:
    assert "vllm" in ROLES


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specs_name_the_same_variables_in_the_same_order(role: str) -> None:
    assert list(defaults(role)) == list(specs(role)["main"]["options"])


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specs_have_the_same_values(role: str) -> None:
    documented = {name: option.get("default") for name, option in specs(role)["main"]["options"].items()}
    assert documented == defaults(role)


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_is_a_task_file(role: str) -> None:
    tasks = {file.stem for file in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert set(specs(role)) <= tasks
    assert {"main", "validate"} <= set(specs(role))


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_is_described(role: str) -> None:
    for entry, spec in specs(role).items():
        assert spec.get("short_description"), entry
        assert spec.get("description"), entry


@pytest.mark.parametrize(("role", "option"), every_option())
def test_every_option_is_described_and_typed(role: str, option: dict[str, Any]) -> None:
    assert option["description"]
    assert option["type"]
    for inner in option.get("options", {}).values():
        test_every_option_is_described_and_typed(role, inner)


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_carries_the_name_of_its_role(role: str) -> None:
    for spec in specs(role).values():
        assert [name for name in spec.get("options", {}) if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_secrets_are_never_printed(role: str) -> None:
    secrets = {
        name: option
        for spec in specs(role).values()
        for name, option in spec.get("options", {}).items()
        if name.endswith(("_token", "_api_key", "_password")) and option["type"] == "str"
    }
    assert [name for name, option in secrets.items() if option.get("no_log") is not True] == []
