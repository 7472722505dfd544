# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether Docker may mount a path of the host: what it leads to, which the text of a variable does not say."""

from __future__ import annotations

import os
import stat
import typing as t

from .._host.folders import lies_in, wrong_source
from .home import owner
from .root_only import user_name, visited


class Source(t.NamedTuple):
    name: str  # of the variable
    path: str
    writable: bool


class Place(t.NamedTuple):
    """What no container may get: the folder of the service, and that of Docker. The model cache it has already."""

    home: str
    cache: str
    docker: str | None


def problems(sources: t.Sequence[Source], place: Place) -> list[str]:
    """One line for each source that Docker must not mount, or cannot."""
    lines = []
    for source in sources:
        wrong = (
            _missing(source)
            or foreign_link(source.path)
            or _leads_to(source, place)
            or _beneath_writable(source, sources)
        )
        if wrong:
            lines.append(f"{source.name}: {source.path} {wrong}")
    return lines


def real_paths(sources: t.Sequence[Source], cache: str) -> dict[str, str]:
    """Where the paths lead that Docker is going to mount, for the guard, which looks again at each start."""
    return {path: os.path.realpath(path) for path in [cache, *(source.path for source in sources)]}


def foreign_link(path: str) -> str | None:
    """A link on the way to PATH by which someone other than root leads root to what is not theirs.

    Root may have made a folder for them elsewhere: one of root's is accepted, if the variable could name it itself.
    """
    for there in filter(os.path.islink, visited(path)):
        user, target = _owner(there, False), _owner(there, True)
        if user is None or user in (0, target) or (target == 0 and _is_for(user, os.path.realpath(path))):
            continue
        name, real = user_name(user), os.path.realpath(there)
        return (
            f"leads through {there}, a link of {name}, to {real}, which is not {name}'s; name the folder without that"
            f" link, or make the link root's: chown -h root {there}"
        )
    return None


def _is_for(user: int, real: str) -> bool:
    """Whether a folder can be one that root has made for USER: no other user's is on the way, nor one of the system."""
    owners = {_owner(folder, True) for folder in visited(real)}
    return owners <= {None, 0, user} and wrong_source(real, True) is None


def _owner(path: str, follow: bool) -> int | None:
    try:
        return os.stat(path, follow_symlinks=follow).st_uid
    except OSError:
        return None


def _missing(source: Source) -> str | None:
    try:
        found = os.stat(source.path)
    except FileNotFoundError:
        return "does not exist on this host; create it there, or correct the path"
    except OSError as error:
        return f"cannot be used ({error.strerror}); correct the path"
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):  # docker.sock by any name
        return "is a socket, a device or a pipe; only files and folders are mounted"
    return None


def _leads_to(source: Source, place: Place) -> str | None:
    real = os.path.realpath(source.path)
    for name, folder in (("vllm_home", place.home), ("hf_cache_path", place.cache), ("Docker's folder", place.docker)):
        other = os.path.realpath(folder) if folder else ""
        if other and (lies_in(real, other) or lies_in(other, real)):
            return f"and {name} ({other}) lie in one another; use another folder"
    here = real
    while here != "/":
        service = owner(here) if os.path.isdir(here) else None
        if service:
            return f"lies in {here}, the folder of the service {service}, which holds secrets; use another folder"
        here = os.path.dirname(here)
    wrong = wrong_source(real, source.writable) if real != os.path.normpath(source.path) else None
    return f"leads to {real}, which {wrong}" if wrong else None


def _beneath_writable(source: Source, sources: t.Sequence[Source]) -> str | None:
    for other in sources:
        inside = lies_in(os.path.realpath(source.path), os.path.realpath(other.path))
        if other.writable and other != source and inside:
            return f"lies in the source of {other.name}, which the container may write; use another folder"
    return None
