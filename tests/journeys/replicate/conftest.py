# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub of the journey `download` with a larger model, and two hosts with an empty cache."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host
from two_hosts import CACHE, DISK, MODEL, MOLECULE, SOURCE, TARGET, Hub

sys.path.insert(0, str(MOLECULE / "shared" / "hub"))
import make_models


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, until: Callable[..., Any]) -> Iterator[Hub]:
    models = tmp_path_factory.mktemp("models")
    make_models.make(models / MODEL, shards=2, vocabulary=200_000, hidden=128, heads=4, head_dim=32)
    hub = Hub(models, until)
    hub.start()
    yield hub
    hub.stop()


def empty(host: Host) -> None:
    with host.sudo():
        host.check_output("rm -rf %s %s", CACHE, DISK)


@pytest.fixture(scope="session")
def hosts(connect: Callable[[str], Any]) -> Iterator[tuple[Host, Host]]:
    """The source and the target, without the journey's caches."""
    with connect(SOURCE) as source, connect(TARGET) as target:
        for host in (source, target):
            empty(host)
        yield source, target
        for host in (source, target):
            empty(host)
