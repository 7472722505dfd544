# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.filter.os_updates import FilterModule

os_updates: t.Callable[..., dict[str, t.Any]] = FilterModule().filters()["os_updates"]

# the packages of the sandbox, as apt says it
TOOLKIT = """\
Reading package lists...
The following packages will be upgraded:
  libnvidia-container-tools libnvidia-container1
2 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
Inst libnvidia-container1 [1.19.0-1] (1.20.0-1 172.30.111.2 [amd64])
Inst libnvidia-container-tools [1.19.0-1] (1.20.0-1 172.30.111.2 [amd64]) []
Conf libnvidia-container1 (1.20.0-1 172.30.111.2 [amd64])
"""
NOTHING = "0 upgraded, 0 newly installed, 0 to remove and 3 not upgraded.\n"


def kernel(version: str) -> str:
    return f"Inst linux-image-{version} ({version.removesuffix('-nvidia')}.8 Ubuntu:24.04/noble-updates [arm64])\n"


def driver(branch: str, version: str) -> str:
    return f"Inst nvidia-driver-{branch}-open [580.95.05-0ubuntu1] (1:{version}-0ubuntu1 NVIDIA:dgx [arm64])\n"


@pytest.mark.parametrize(
    ("simulated", "packages", "reboot"),
    [
        (TOOLKIT, ["libnvidia-container-tools", "libnvidia-container1"], False),
        (NOTHING, [], False),
        ("", [], False),
        (kernel("6.17.0-1032-nvidia"), ["linux-image-6.17.0-1032-nvidia"], True),
        (driver("580", "580.126.09"), ["nvidia-driver-580-open"], True),
        ("Inst linux-image-nvidia-hwe-24.04 [6.1] (6.2 Ubuntu [arm64])\n", ["linux-image-nvidia-hwe-24.04"], False),
    ],
)
def test_what_is_updated(simulated: str, packages: list[str], reboot: bool) -> None:
    assert os_updates(simulated) == {"packages": packages, "reboot": reboot, "faults": []}


@pytest.mark.parametrize(
    ("simulated", "nodes", "bad"),
    [
        (kernel("6.17.0-1008-nvidia"), 1, "linux-image-6.17.0-1008-nvidia"),
        (kernel("7.0.0-1019-nvidia"), 1, None),  # bad for a pair only
        (kernel("7.0.0-1019-nvidia"), 2, "linux-image-7.0.0-1019-nvidia"),
        (TOOLKIT + driver("590", "590.48.01"), 1, "nvidia-driver-590-open"),
    ],
)
def test_what_is_known_to_be_bad(simulated: str, nodes: int, bad: str | None) -> None:
    faults = os_updates(simulated, nodes)["faults"]
    assert [fault["packages"] for fault in faults] == ([[bad]] if bad else [])
