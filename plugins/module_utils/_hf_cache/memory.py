# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A limit for the memory of modules that parse files of a cache.

64 MiB of nested brackets become gigabytes of lists. On a host whose memory a model fills, the kernel or earlyoom would
end the server, not the module.
"""

from __future__ import annotations

import contextlib
import resource
import typing as t

from .layout import CacheError

MOST = 2 << 30


@contextlib.contextmanager
def limited() -> t.Iterator[None]:
    """No more than MOST on top of what the process has now. Address space that is only reserved does not count."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = min(limit for limit in (_now() + MOST, soft, hard) if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    except MemoryError:
        raise CacheError(
            f"reading the cache takes more than {MOST >> 30} GiB of memory; look for lists, configurations and indexes"
            " of many megabytes in it, and remove them"
        ) from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _now() -> int:
    """Bytes that the process has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[5]) * resource.getpagesize()
