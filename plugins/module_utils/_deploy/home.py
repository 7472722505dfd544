# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of a service on a host (vllm_home): whose it is, and what in it is ours.

A marker in it names the service, what the collection makes there, the ids of the images that it has pulled for the
service, those of them that came from another host, and the name of one that it is about to pull.
Without one the folder is somebody else's, unless it is empty, or holds a release that an earlier version has written,
or a unit of the collection starts from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import typing as t

from .._host import services
from .._host.services import NAME, RELEASE, unit_files, written
from .releases import names_in, read_json, write
from .root_only import not_root_only

MARKER = ".dgxspark-vllm"
# In it: the ids of images, the names of those that are being pulled, the ids of those that came from another host.
_IMAGES = ("images", "pulling", "copied")
# What role, guard, watchdog and modules make in the folder.
MADE = (
    *(".env", "cache", "caches", "current", "good", "parsed"),
    *("had_turn", "releases", "replaced.json", "state", "taken_over.json", "watchdog.env"),
)
# Of these, what leads somewhere.
_LINKS = {".env": "current/.env", "current": "releases/[0-9a-f]{12}", "good": "releases/[0-9a-f]{12}"}
# What root reads and writes there. The container has `cache` or a folder in `caches`, and may do with it as it likes.
_ROOTS = ("parsed", "releases", "state")
# mkfs makes it in the root of a file system.
_NOBODYS = {"lost+found", f"{MARKER}.new"}  # the second: a marker whose writing was interrupted


def owner(home: str) -> str | None:
    """The service whose folder it is; None if it is somebody else's, or not there."""
    marker = _marker(home)
    return marker["service"] if marker else _unmarked_owner(home)


def _marker(home: str) -> dict[str, t.Any]:
    path = os.path.join(home, MARKER)
    marker = {} if os.path.islink(path) else read_json(path)
    service, made = marker.get("service"), marker.get("made")
    lists = [made, *(marker.get(name, []) for name in _IMAGES)]
    if not isinstance(service, str) or not NAME.fullmatch(service) or not all(isinstance(one, list) for one in lists):
        return {}
    names, *found = ([text for text in one if isinstance(text, str)] for one in lists)
    return {"service": service, "made": list(filter(_is_name, names)), **dict(zip(_IMAGES, found))}


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _unmarked_owner(home: str) -> str | None:
    """By a release that was written before there was a marker, or by the unit that starts from the folder."""
    for release in names_in(os.path.join(home, "releases")):
        if RELEASE.fullmatch(release):
            text = written(os.path.join(home, "releases", release, "compose.yaml"))
            found = re.search(r'^ *dgxspark\.vllm\.service: "(.*)"$', text, re.MULTILINE)
            if found and NAME.fullmatch(found[1]):
                return found[1]
    for unit in names_in(services.UNITS):
        service = unit.removesuffix(".service")
        if service != unit and os.path.realpath(services.home_of(service) or "/") == os.path.realpath(home):
            return service
    return None


def refusal(home: str, service: str, cache: str | None = None) -> str | None:
    """Why SERVICE may not have HOME, in one line; None if it may. CACHE is the folder that its container writes."""
    return (
        not_root_only(home, _ROOTS)
        or (_nested(home, cache) if cache else None)
        or _somebodys(home, service)
        or _foreign_unit(service)
        or moved(home, service)
    )


def _nested(home: str, cache: str) -> str | None:
    """By what the paths lead to: the container could write what root runs, or the cache would go with the service."""
    inner, outer = (f"{os.path.realpath(path)}/" for path in (home, cache))
    if inner.startswith(outer) or outer.startswith(inner):
        return f"vllm_home: {home} and hf_cache_path: {cache} lie in one another; use two folders that do not"
    return None


def _somebodys(home: str, service: str) -> str | None:
    if os.path.lexists(home) and not os.path.isdir(home):
        return f"vllm_home: {home} is no folder; remove it, or set vllm_home to another path"
    names = sorted(set(names_in(home)) - _NOBODYS)
    found = owner(home)
    if found is None and names:
        some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        return (
            f"vllm_home: {home} holds {some}, and has no marker of this collection ({MARKER}), so it is not"
            " its own. Nothing was changed. Set vllm_home to another folder, or move what is in it"
        )
    if found not in (None, service):
        return f"vllm_home: {home} is the folder of the service {found}; give {service} another one"
    for name in sorted(set(names) & set(_LINKS)):
        if not _is_our_link(home, name):
            path = os.path.join(home, name)
            return (
                f"vllm_home: {path} is not the link that this collection makes there, so it is not its own."
                f" Nothing was changed. Move it: mv {path} {path}.mine"
            )
    return None


def _is_our_link(home: str, name: str) -> bool:
    path = os.path.join(home, name)
    return os.path.islink(path) and re.fullmatch(_LINKS[name], os.readlink(path)) is not None


def _foreign_unit(service: str) -> str | None:
    for path in unit_files(service):
        if os.path.lexists(path) and not written(path):
            return (
                f"vllm_service_name: {path} exists, and this collection did not write it. Nothing was changed. Set"
                " vllm_service_name to another name, or move that unit"
            )
    return None


def moved(home: str, service: str) -> str | None:
    """Why HOME is not the folder of SERVICE, which has another one; None if that is not so."""
    old = services.home_of(service)
    if old is None or not os.path.isdir(old) or os.path.realpath(old) == os.path.realpath(home):
        return None
    return (
        f"vllm_home: {home} is not the folder of the service {service}, which is {old}. Nothing was changed. Set"
        f" vllm_home to {old}. To move the service, run playbooks/uninstall.yml with that path (models and images"
        f" stay), then deploy with {home}"
    )


def is_marked(home: str, service: str) -> bool:
    marker = _marker(home)
    return bool(marker) and marker["service"] == service and set(MADE) <= set(marker["made"])


def mark(home: str, service: str) -> None:
    """Makes the folder, if there is none, and says whose it is before anything is in it."""
    make_folder(home)
    before = _marker(home)
    _write_marker(home, {**before, "service": service, "made": {*before.get("made", []), *MADE}})


def is_pulled(home: str, ident: str, name: str) -> bool:
    """Whether the image with this id and NAME was pulled for the service; any other image is somebody else's."""
    marker = _marker(home)
    return ident in marker.get("images", []) or is_pulling(home, name)


def is_pulling(home: str, name: str) -> bool:
    """Whether a pull of the image NAME has begun whose end is not recorded."""
    return name in _marker(home).get("pulling", [])


def begin_pull(home: str, name: str) -> None:
    """The image NAME is not on the host, and is to be pulled: if the run is interrupted, the next one knows it."""
    marker = _marker(home)
    if marker and name not in marker["pulling"]:
        _write_marker(home, {**marker, "pulling": {*marker["pulling"], name}})


def end_pull(home: str, name: str, ident: str | None) -> None:
    """The image NAME has IDENT now, or could not be pulled."""
    marker = _marker(home)
    if marker:
        images = {*marker["images"], *filter(None, [ident])}
        _write_marker(home, {**marker, "images": images, "pulling": {*marker["pulling"]} - {name}})


def is_copied(home: str, ident: str) -> bool:
    """Whether the image came from another host: Docker may know no digest of it, as of one that was built here."""
    return ident in _marker(home).get("copied", [])


def note_copy(home: str, ident: str) -> None:
    """The image has come from another host for the service. To be said before it gets its name."""
    marker = _marker(home)
    if marker:
        noted = {name: {*marker[name], ident} for name in ("images", "copied")}
        _write_marker(home, {**marker, **noted})


def forget_image(home: str, ident: str, name: str) -> None:
    """The image is gone; when it comes back, somebody else has pulled it."""
    marker = _marker(home)
    if ident in marker.get("images", []) or name in marker.get("pulling", []):
        _write_marker(home, {**marker, **{kind: {*marker[kind]} - {ident, name} for kind in _IMAGES}})


def _write_marker(home: str, marker: t.Mapping[str, t.Any]) -> None:
    path = os.path.join(home, MARKER)
    lists = {name: sorted(marker.get(name, [])) for name in ("made", *_IMAGES)}
    write(path, json.dumps({"service": marker["service"], **lists}, indent=1) + "\n")


def folders_of(home: str, release: str) -> list[str]:
    """What has to be there before files of a release are written."""
    return [os.path.join(home, name) for name in ("cache", "parsed", "releases", f"releases/{release}")]


def is_made(folder: str) -> bool:
    """Whether it is a folder that nobody but root may write."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return False
    return (status.st_uid, status.st_gid, status.st_mode) == (os.geteuid(), os.getegid(), stat.S_IFDIR | 0o755)


def make_folder(folder: str, mine: bool = False) -> None:
    """With a mode that no umask changes. MINE: one that is there gets owner and mode, too."""
    if not os.path.isdir(folder):
        make_folder(os.path.dirname(folder))
        os.mkdir(folder)
        os.chmod(folder, 0o755)
    elif mine and not is_made(folder):
        os.chown(folder, os.geteuid(), os.getegid())
        os.chmod(folder, 0o755)


def remove(home: str, service: str, remove_tree: t.Callable[[str], None]) -> list[str]:
    """Removes what is ours from the folder of SERVICE, and the folder if nothing else is in it; what stays."""
    if not _marker(home):
        mark(home, service)  # to recognize the rest of it, should this be interrupted
    for name in _marker(home)["made"]:
        _remove(home, name, remove_tree)
    os.unlink(os.path.join(home, MARKER))
    with contextlib.suppress(OSError):  # it is not empty, or a file system of its own
        os.rmdir(home)
    return names_in(home)


def kept(home: str) -> list[str]:
    """What remove() would leave in the folder."""
    ours = {MARKER, *_marker(home).get("made", MADE)}
    return [name for name in names_in(home) if name not in ours or _holds_others(home, name)]


def _holds_others(home: str, name: str) -> bool:
    path = os.path.join(home, name)
    if name in _LINKS:
        return not _is_our_link(home, name)
    return name == "releases" and not all(map(RELEASE.fullmatch, names_in(path)))


def _remove(home: str, name: str, remove_tree: t.Callable[[str], None]) -> None:
    path = os.path.join(home, name)
    if name in _LINKS and not _is_our_link(home, name):
        return
    if os.path.islink(path) or not os.path.isdir(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    elif name == "releases":
        for release in filter(RELEASE.fullmatch, names_in(path)):
            remove_tree(os.path.join(path, release))
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(path)
    else:
        remove_tree(path)
