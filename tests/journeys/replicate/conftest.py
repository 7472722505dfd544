# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub of the journey's own, and two hosts with an empty cache."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.hub import HubServer
from support.models import make
from support.sandbox import GATEWAY, Spark

from .caches import CACHE, DISK, MODEL, PORT, SOURCE, TARGET


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    models = tmp_path_factory.mktemp("models")
    make(models / MODEL, shards=2, vocabulary=200_000, hidden=128, heads=4, head_dim=32)
    hub = HubServer(models, GATEWAY, PORT)
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture(scope="session")
def hosts(two_hosts: dict[str, Spark]) -> Iterator[tuple[Spark, Spark]]:
    """The source and the target, without the journey's caches."""
    source, target = two_hosts[SOURCE], two_hosts[TARGET]
    for host in (source, target):
        host.root(f"rm -rf {CACHE} {DISK}")
    yield source, target
    for host in (source, target):
        host.root(f"rm -rf {CACHE} {DISK}")
