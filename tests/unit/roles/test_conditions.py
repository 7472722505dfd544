# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conditions have boolean results. Since ansible-core 2.19 a task fails otherwise, and only where it is reached."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment, nodes

from support.paths import ROOT

JINJA = Environment()
FILES = sorted([*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").glob("*.yml")])
CONDITIONS = ("when", "until", "failed_when", "changed_when", "that")
BOOLEAN = ("ansible_check_mode",)


def entries(path: Path) -> t.Iterator[tuple[str, t.Any]]:
    """Every key of the file, at any depth, with its value."""

    def walk(item: t.Any) -> t.Iterator[tuple[str, t.Any]]:
        if isinstance(item, dict):
            yield from item.items()
        for each in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            yield from walk(each)

    yield from walk(yaml.safe_load(path.read_text()))


def results(node: nodes.Node) -> t.Iterator[nodes.Node]:
    """What an expression may give: `a and b` gives one of the two, as in Python."""
    if isinstance(node, (nodes.And, nodes.Or)):
        yield from (found for part in (node.left, node.right) for found in results(part))
    elif isinstance(node, nodes.CondExpr):
        yield from (found for part in (node.expr1, node.expr2) if part for found in results(part))
    else:
        yield node


def expression(text: str) -> nodes.Node | None:
    """Of a template that is one expression and nothing else."""
    body = JINJA.parse(text.strip()).body
    parts = body[0].nodes if len(body) == 1 and isinstance(body[0], nodes.Output) else []
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData) else None


@functools.cache
def definitions() -> dict[str, list[t.Any]]:
    """The values that variables of the roles get anywhere, by name."""
    found: dict[str, list[t.Any]] = {}
    for path in FILES:
        for name, value in entries(path):
            if name.startswith("__"):
                found.setdefault(name, []).append(value)
    return found


def is_boolean(node: nodes.Node, seen: frozenset[str] = frozenset()) -> bool:
    if isinstance(node, (nodes.Compare, nodes.Test, nodes.Not)):
        return True
    if isinstance(node, nodes.Const):
        return isinstance(node.value, bool)
    if isinstance(node, nodes.Filter):
        if node.name == "default" and node.args:
            return all(is_boolean(each, seen) for each in (node.node, node.args[0]) if each)
        return node.name == "bool"
    if isinstance(node, nodes.Getattr):
        return True  # a field of a result: modules document theirs, and give them their types
    return isinstance(node, nodes.Name) and (node.name in (*BOOLEAN, *seen) or is_variable(node.name, seen))


def is_variable(name: str, seen: frozenset[str]) -> bool:
    """Whether NAME is set to booleans wherever it is set."""
    values = definitions().get(name)
    return bool(values) and all(is_value(value, seen | {name}) for value in values or ())


def is_value(value: t.Any, seen: frozenset[str]) -> bool:
    parsed = expression(value) if isinstance(value, str) else None
    return isinstance(value, bool) or bool(parsed and all(is_boolean(each, seen) for each in results(parsed)))


def refused(condition: str) -> list[str]:
    parsed = expression("{{" + condition + "}}")
    return [str(node) for node in results(parsed) if not is_boolean(node)] if parsed else [condition]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_conditions_are_boolean(path: Path) -> None:
    found = [(name, value) for name, value in entries(path) if name in CONDITIONS]
    each = [condition for _name, value in found for condition in (value if isinstance(value, list) else [value])]
    assert {condition: bad for condition in each if isinstance(condition, str) and (bad := refused(condition))} == {}


@pytest.mark.parametrize("condition", ["a is defined and __vllm_host_result", "'x'", "a | default([])", "[] or not b"])
def test_what_is_no_boolean_is_found(condition: str) -> None:
    assert refused(condition)
