# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which paths of a host a container may get."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import lies_in, wrong_cache, wrong_source


@pytest.mark.parametrize(
    ("path", "reads", "writes"),
    [
        ("/srv/data", True, True),
        ("/srv/data/", True, True),
        ("/home/nvidia/models/mine", True, True),
        ("/mnt/disk", True, True),
        ("/run/media/nvidia/disk", True, True),
        ("/usr/local/share", True, False),
        ("/var/lib/mine", True, False),
        ("/opt/nvidia/tools", True, False),
        *((path, False, False) for path in ("/", "//", "/etc", "/etc/passwd", "/home", "/home/nvidia", "/opt", "/srv")),
        *((path, False, False) for path in ("/proc/1", "/sys", "/dev/sda", "/run/docker.sock", "/var/run/docker.sock")),
        *((path, False, False) for path in ("/root", "/root/x", "/var/log", "/var/log/x", "/var/lib/docker/volumes")),
        *((path, False, False) for path in ("/home/nvidia/.ssh", "/srv/.aws/x", "/var/lib/dgxspark")),
        *((path, False, False) for path in ("srv", "/srv/../etc", "/srv/a:b", "/srv/$x", "/srv/a b", "/srv/a\n")),
    ],
)
def test_what_a_container_may_get(path: str, reads: bool, writes: bool) -> None:
    assert (wrong_source(path) is None, wrong_source(path, writable=True) is None) == (reads, writes)


@pytest.mark.parametrize(
    ("path", "is_fine"),
    [
        *((path, True) for path in ("/opt/hf", "/home/nvidia/.cache/huggingface/hub", "/root/hub", "/var/lib/mine")),
        *(
            (path, False)
            for path in ("/", "/root", "/etc/x", "/home/nvidia/.ssh", "/root/.ssh", "/srv/.aws/x", "/snap/x")
        ),
        *((path, False) for path in ("/var/lib/dgxspark", "//var//lib/dgxspark/x", "/var/spool/cron", "/var/log/x")),
        *(
            (path, False)
            for path in ("/var/lib/apt", "/var/cache/apt/x", "/var/lib/snapd", "/opt/nvidia/x", "/nix/store")
        ),
    ],
)
def test_what_a_cache_may_be(path: str, is_fine: bool) -> None:
    assert (wrong_cache(path, "/opt/hf") is None) is is_fine


@pytest.mark.parametrize(
    ("path", "folder", "inside"), [("/a/b", "/a", True), ("/a", "/a/", True), ("/ab", "/a", False)]
)
def test_what_lies_in_a_folder(path: str, folder: str, inside: bool) -> None:
    assert lies_in(path, folder) is inside
