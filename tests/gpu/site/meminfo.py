#!/usr/bin/env python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for unified memory: /proc/meminfo of the simulated host, with the figures of the GPU.

    meminfo.py FILE

On a Spark the GPU's memory is the host's, and the collection reads it in /proc/meminfo. Rewrites FILE in place, four
times a second, so that it can be mounted.
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path


class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("version", "total", "reserved", "free", "used")]


def page(total_kib: int, free_kib: int) -> bytes:
    """All of what a reader of /proc/meminfo may ask for, always of one length."""
    values = {
        "MemTotal": total_kib,
        "MemFree": free_kib,
        "MemAvailable": free_kib,
        "Buffers": 0,
        "Cached": 0,
        "SwapCached": 0,
        "Active": 0,
        "Inactive": 0,
        "AnonPages": 0,
        "SwapTotal": 0,
        "SwapFree": 0,
        "Dirty": 0,
        "Shmem": 0,
        "Slab": 0,
        "SReclaimable": 0,
    }
    return "".join(f"{name + ':':<16}{value:>12} kB\n" for name, value in values.items()).encode()


def main(path: Path) -> None:
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    nvml.nvmlInit_v2()
    device = ctypes.c_void_p()
    nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
    memory = Memory()
    path.touch()
    with path.open("r+b", buffering=0) as file:
        while True:
            memory.version = ctypes.sizeof(Memory) | 2 << 24  # a 32-bit field and padding
            nvml.nvmlDeviceGetMemoryInfo_v2(device, ctypes.byref(memory))
            file.seek(0)
            # What CUDA calls the total is without what the driver reserves.
            file.write(page((memory.total - memory.reserved) // 1024, memory.free // 1024))
            time.sleep(0.25)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
