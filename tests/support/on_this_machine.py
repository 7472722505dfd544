# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest for tests without a sandbox: `ansible-playbook` with no settings of the user, and Hypothesis."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.playbook import AnsiblePlaybook
from support.playbook_server import PlaybookServers
from support.warm_python import Popen

# A busy machine is no reason for a property test to fail.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("in turn", parent=settings.get_profile("any machine"), max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    """Examples are others with each run: with each commit a quarter of Hypothesis' hundred; a test may multiply it."""
    settings.load_profile("any machine" if config.getoption("turn") is None else "in turn")


@pytest.fixture(scope="session")
def as_a_user(tmp_path_factory: pytest.TempPathFactory) -> AnsiblePlaybook:
    """`ansible-playbook` with this clone's settings, whose own files stay in a folder of these tests.

    For tests in which runs or hosts have to be at once, or seconds count; the others have the next one.
    """
    home = tmp_path_factory.mktemp("ansible")
    return AnsiblePlaybook(environment={"ANSIBLE_HOME": str(home), "ANSIBLE_REMOTE_TMP": str(home / "tmp")})


@pytest.fixture(scope="session")
def ansible_playbook(as_a_user: AnsiblePlaybook) -> Iterator[AnsiblePlaybook]:
    """The same from a process that has imported Ansible, and with tasks and modules in one process."""
    in_process = {
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callbacks")),
        "ANSIBLE_CALLBACKS_ENABLED": "tasks_in_process,modules_in_tasks",
    }
    environment = {**as_a_user.environment, **in_process}
    with contextlib.closing(PlaybookServers()) as servers:
        yield dataclasses.replace(as_a_user, environment=environment, servers=servers)


@pytest.fixture
def warm_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins that are Python programs run in forks of this process."""
    monkeypatch.setattr(subprocess, "Popen", Popen)
