# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `apt-get --simulate` would do to a host. Pure."""

from __future__ import annotations

import re
import typing as t

from .._catalog.fields import Entry
from .._catalog.hosts import host_faults

# "Inst libc6 [2.39-0ubuntu8.3] (2.39-0ubuntu8.4 Ubuntu:24.04/noble-updates [arm64]) []", without [old] if it is new
INST = re.compile(r"^Inst (?P<package>[a-z0-9][a-z0-9+.-]+)(?: \[[^\]]*\])? \((?P<version>\S+)", re.MULTILINE)
KERNEL = re.compile(r"linux-image-(?:unsigned-)?(?P<kernel>\d.*)")
DRIVER = re.compile(r"(?:nvidia-driver|nvidia-dkms|nvidia-kernel-common|nvidia-kernel-source|libnvidia-compute)-\d")
DRIVER_VERSION = re.compile(r"(?:\d+:)?(?P<version>\d+[\d.]*)")


def os_updates(simulated: str, known: t.Iterable[Entry], nodes: int) -> dict[str, t.Any]:
    """
    The packages; whether they need a reboot, of which the driver's packages do not always leave a note; and what is
    known to be bad of them for NODES hosts that serve together.
    """
    versions = {found["package"]: found["version"] for found in INST.finditer(simulated)}
    kernels = {package: found["kernel"] for package in versions if (found := KERNEL.fullmatch(package))}
    drivers = {
        package: found["version"]
        for package, version in versions.items()
        if DRIVER.match(package) and (found := DRIVER_VERSION.match(version))
    }
    settings = {"nnodes": nodes} if nodes > 1 else {}
    entries = list(known)
    faults: dict[str, list[str]] = {}
    for package, host in (
        *((package, {"os": {"kernel": kernel}}) for package, kernel in kernels.items()),
        *((package, {"gpu": {"driver": driver}}) for package, driver in drivers.items()),
    ):
        for fault in host_faults(entries, host, settings):
            faults.setdefault(fault["what"], []).append(package)
    return {
        "packages": sorted(versions),
        "reboot": bool(kernels or drivers),
        "faults": [{"what": what, "packages": packages} for what, packages in faults.items()],
    }
