# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a journey asks for: a host in the state that it needs, the sandbox, `ansible-playbook`, lines for the end."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

import pytest

from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CACHE, IMAGE, INVENTORY, MODEL, NAMES, Sandbox, Spark

pytest_plugins = ["support.turns"]

SNAPSHOTS = f"{CACHE}/models--{MODEL.replace('/', '--')}/snapshots"
# Of prepare.yml the Docker settings and the cache, of stage.yml image and model.
IS_PREPARED = f"""
grep -q insecure-registries /etc/docker/daemon.json
docker image inspect --format . {shlex.quote(IMAGE)}
ls {SNAPSHOTS}/*/model.safetensors.index.json
"""

figures: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--spark", choices=NAMES, default=NAMES[0], help="the host of a journey that needs one host")


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def spark(sandbox: Sandbox, request: pytest.FixtureRequest) -> Spark:
    """The host that the journey may do with as it likes; use its name and limit, for it may be any."""
    return sandbox[request.config.getoption("spark")]


@pytest.fixture(scope="session")
def ansible_playbook() -> AnsiblePlaybook:
    """`ansible-playbook` on the sandbox, as README.md says."""
    return AnsiblePlaybook(INVENTORY)


def prepare(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    with spark.sudo():
        if spark.run("sh -euc %s", IS_PREPARED).rc == 0:
            return
    for playbook in ("prepare.yml", "stage.yml"):
        run = ansible_playbook(f"playbooks/{playbook}", spark.limit)
        assert run.code == 0, run.output


@pytest.fixture(scope="session")
def prepared(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Spark:
    """The host with Docker, its cache folder, the image and the model: what a deployment needs. Nothing need serve."""
    prepare(spark, ansible_playbook)
    return spark


@pytest.fixture(scope="session")
def two_hosts(sandbox: Sandbox, ansible_playbook: AnsiblePlaybook) -> dict[str, Spark]:
    """All hosts of the sandbox by name, prepared."""
    for spark in sandbox.hosts.values():
        prepare(spark, ansible_playbook)
    return sandbox.hosts


@pytest.fixture(scope="session")
def served(prepared: Spark, ansible_playbook: AnsiblePlaybook) -> Run:
    """site.yml has run: the host serves what the sandbox's inventory says. What that run said."""
    run = ansible_playbook("site.yml", prepared.limit)
    assert run.code == 0, run.output
    return run


@pytest.fixture(scope="session")
def figure() -> Callable[[str], None]:
    """A line for the end of the output. Seconds are told, never asserted: the machine may be busy."""
    return figures.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.write_line(line)
