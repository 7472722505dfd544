# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the role vllm: what is done in one place only; and how deep the task files of a playbook are nested."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT

ROLES = ROOT / "roles"
TASKS = ROLES / "vllm" / "tasks"
ENTRY_POINTS = sorted(TASKS.glob("*.yml"))
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
DEEPEST = 5
# It makes whole deployments, on top of which it has tune.yml, and try_profile.yml for each profile: that a failed one
# is measured as such takes a block, which has no loop.
DEEPER = {"tune": DEEPEST + 2}

Task = dict[str, t.Any]


def tasks(path: Path) -> t.Iterator[Task]:
    """Of one file, those in blocks too."""

    def walk(items: list[Task] | None) -> t.Iterator[Task]:
        for item in items or []:
            yield item
            for part in ("block", "rescue", "always", "pre_tasks", "tasks", "post_tasks"):
                yield from walk(item.get(part))

    yield from walk(yaml.safe_load(path.read_text()))


@functools.cache
def included(path: Path) -> frozenset[Path]:
    """By one file of tasks, or by one playbook."""
    return frozenset(_included(path))


def _included(path: Path) -> t.Iterator[Path]:
    for task in tasks(path):
        for action in ("include_tasks", "import_tasks"):
            if name := task.get(f"ansible.builtin.{action}"):
                name = name["file"] if isinstance(name, dict) else name
                (root,) = [folder for folder in path.parents if folder.name == "tasks"]
                yield min((root / name, path.parent / name), key=lambda file: not file.exists())
        if check := (task.get("vars") or {}).get("__vllm_preflight_check"):  # what preflight/check.yml includes
            yield from (ROLES / check["role"] / "tasks" / name for name in check["tasks"])
        elif role := task.get("ansible.builtin.include_role") or task.get("ansible.builtin.import_role"):
            name, file = role["name"].rpartition(".")[2], role.get("tasks_from", "main.yml")
            if "{{" not in name + file:
                yield ROLES / name / "tasks" / file


def chains(path: Path, above: tuple[Path, ...] = ()) -> t.Iterator[tuple[Path, ...]]:
    """The files of tasks from PATH down, each way. A file that leads to itself counts as often as it is read: twice."""
    chain = (*above, path)
    below = [each for each in included(path) if chain.count(each) < 2]
    yield from (found for each in below for found in chains(each, chain))
    if not below:
        yield chain


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_no_chain_of_includes_is_longer(path: Path) -> None:
    deepest = max((chain[1:] for chain in chains(path)), key=len)
    assert len(deepest) <= DEEPER.get(path.stem, DEEPEST), " > ".join(str(each.relative_to(ROLES)) for each in deepest)


def test_every_file_is_reached_from_an_entry_point() -> None:
    reached, new = set(), set(ENTRY_POINTS)
    while new:
        reached |= new
        new = {file for path in new for file in included(path)} - reached
    assert reached >= set(TASKS.rglob("*.yml"))


def used_in(action: str, **options: t.Any) -> list[str]:
    """The files with such a task; of paths, the last part counts."""
    return [
        path.stem
        for path in sorted(TASKS.rglob("*.yml"))
        for task in tasks(path)
        if action in task
        and all(
            str((task[action] or {}).get(name)).rsplit("/", maxsplit=1)[-1] == str(value)
            for name, value in options.items()
        )
    ]


def test_one_place_writes_the_link_current() -> None:
    assert used_in("ansible.builtin.file", state="link", dest="current") == ["link_release"]


def test_one_place_waits_for_readiness() -> None:
    assert used_in("dgxspark.vllm.vllm_health", wait=True) == ["wait_ready"]
    assert used_in("dgxspark.vllm.vllm_health") == ["check_service", "wait_ready", "add_reasons"]


def test_one_place_starts_the_unit() -> None:
    assert used_in("ansible.builtin.systemd_service", state="restarted") == ["start_release"]
    # as it was: what was stopped for the update of a host that failed, and another service after a failed swap
    assert used_in("ansible.builtin.systemd_service", state="started") == ["start_again", "return_turn"]


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_no_variable_of_a_task_has_the_name_of_a_fact(role: str) -> None:
    """A fact is there until the run ends, in other files and playbooks too, and wins over the variables of a task."""
    found = [task for path in sorted((ROLES / role / "tasks").rglob("*.yml")) for task in tasks(path)]
    facts = {name for task in found for name in task.get("ansible.builtin.set_fact") or {}}
    facts |= {task["register"] for task in found if "register" in task}
    passes_on = (
        "block",
        "ansible.builtin.include_tasks",
        "ansible.builtin.import_tasks",
        "ansible.builtin.include_role",
    )
    single = [task for task in found if not set(passes_on) & set(task)]
    assert facts & {name for task in single for name in task.get("vars") or {}} == set()


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_no_result_has_the_name_of_a_variable_of_the_role(role: str) -> None:
    """It would hide that variable until the run ends."""
    names = {
        name
        for part in ("defaults", "vars")
        for path in (ROLES / role / part).glob("*.yml")
        for name in yaml.safe_load(path.read_text()) or {}
    }
    results = {task.get("register") for path in (ROLES / role / "tasks").rglob("*.yml") for task in tasks(path)}
    assert results & names == set()


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_an_empty_file_has_no_diff(role: str) -> None:
    """It would show the times of the file only."""
    found = [task for path in (ROLES / role / "tasks").rglob("*.yml") for task in tasks(path)]
    touched = [task for task in found if task.get("ansible.builtin.file", {}).get("state") == "touch"]
    assert [task["name"] for task in touched if task.get("diff") is not False] == []


def test_preflight_looks_at_the_path_of_the_cache_whatever_is_mounted() -> None:
    """As the deployment does, which would fail there."""
    wanted = "deploy/check_sources.yml"
    found = [
        task
        for task in tasks(TASKS / "preflight.yml")
        if wanted in task.get("vars", {}).get("__vllm_preflight_check", {}).get("tasks", [])
    ]
    assert [task.get("when") for task in found] == [None]


def test_a_stage_is_the_first_step_of_a_deployment() -> None:
    def staging(entry: str) -> list[t.Any]:
        steps = [
            task for task in tasks(TASKS / entry) if task.get("ansible.builtin.include_tasks") == "deploy/stage.yml"
        ]
        return [step.get("when") for step in steps]

    assert len(staging("stage.yml")) == 1
    assert staging("stage.yml") == staging("main.yml")
    assert {"deploy/port_conflicts.yml", "deploy/stage_release.yml"} <= {
        task["ansible.builtin.include_tasks"] for task in tasks(TASKS / "deploy/stage.yml")
    }


@pytest.mark.parametrize("path", sorted(TASKS.rglob("*.yml")), ids=lambda path: path.stem)
def test_names(path: Path) -> None:
    """A task that does something is named after its file, and no name is a template."""
    prefix = " | ".join([*path.relative_to(TASKS).with_suffix("").parts, ""])
    for task in tasks(path):
        name = task["name"]
        assert "{{" not in name
        does_something = not {"block", "ansible.builtin.import_tasks", "ansible.builtin.include_tasks"} & set(task)
        if "|" in name:
            assert name.startswith(prefix)
        elif path.stem != "main":
            assert not does_something or path.parent == TASKS or "ansible.builtin.include_role" in task, name
        assert "tags" not in task


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_no_playbook_sets_what_is_private_to_a_role(path: Path) -> None:
    assert "__" not in path.read_text()
