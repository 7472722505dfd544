# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts by name, and figures for the end of the output."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import testinfra
import yaml
from pieces import ROOT
from testinfra.host import Host

figures: list[str] = []


@pytest.fixture(scope="session")
def figure() -> Callable[[str], None]:
    """A line for the end of the output. Seconds are told, never asserted: the machine may be busy."""
    return figures.append


@contextmanager
def connection(ssh: Any, folder: Any) -> Iterator[Host]:
    yield testinfra.get_host(
        f"ssh://{ssh.user}@{ssh.address}",
        ssh_identity_file=str(ssh.key),
        ssh_extra_args=ssh.options,
        controlpath=f"{folder}/{ssh.address}",
        controlpersist=30,
    )


@pytest.fixture(scope="module")
def fleet(ssh: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    """All hosts of the sandbox's inventory, by name."""
    hosts = yaml.safe_load((ROOT / "inventories/sandbox/hosts.yml").read_text())["spark"]["hosts"]
    folder = tmp_path_factory.mktemp("ssh")
    with ExitStack() as stack:
        found = {}
        for name, variables in hosts.items():
            other = type(ssh)(variables["ansible_host"])
            found[name] = stack.enter_context(connection(other, folder))
        yield found


@pytest.fixture
def no_hub_no_registry() -> Iterator[None]:
    """Both are there and do not answer."""
    names = ["dgxspark-sandbox-hub", "dgxspark-sandbox-registry"]
    subprocess.run(["docker", "pause", *names], check=True, stdout=subprocess.DEVNULL)
    yield
    subprocess.run(["docker", "unpause", *names], check=True, stdout=subprocess.DEVNULL)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.write_line(line)
