# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes from a Hugging Face cache what is chosen, and nothing that somebody works on."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import os
import stat
import time
import typing as t

from . import beneath, blob_store, hashing, local_dirs, snapshot
from . import files as hf_files
from . import locks as hf_locks
from . import partials as hf_partials
from .content import Asked, Broken, Content
from .layout import (
    BLOB,
    Look,
    Repository,
    check_is_cache,
    find_local_folders,
    find_repositories,
    is_store,
    shown,
    tree_roots,
)
from .partials import local_locks

CLASSES = (
    "partials",
    "dangling_links",
    "truncated",
    "empty",
    "lfs_pointers",
    "invalid_json",
    "corrupt",
    "sparse",
    "refs",
    "unreferenced",
    "probes",
)
# These are seen only by those who open the files.
_NEED_HEADERS = {"truncated", "lfs_pointers", "invalid_json"}
_CONTENT = {"truncated", "empty", "lfs_pointers", "invalid_json", "corrupt"}
# A client writes the ref first, and for a moment nothing else tells that it is at work.
_REF_REST_SECONDS = 60
_BEGAN = "a download began meanwhile"


@dataclasses.dataclass
class Cleaning:
    path: str
    classes: set[str]
    check_mode: bool
    idle: bool
    look: Look = dataclasses.field(default_factory=Look)
    removed: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    kept: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    # Links that went with the blob that is being removed.
    links: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    # What would be gone by now, in check mode: it is told once.
    gone: set[str] = dataclasses.field(default_factory=set)

    def run(self, models: list[str], keep_models: list[str] | None) -> None:
        check_is_cache(self.path, self.look)
        repositories = find_repositories(self.path, models, self.look)
        if keep_models is not None:
            for repository in [each for each in repositories if each.type == "model"]:
                if repository.repo_id not in keep_models:
                    self._prune(repository)
                    repositories.remove(repository)
        asked = Asked(headers=bool(self.classes & _NEED_HEADERS), kind=hf_locks.filesystem_of(self.path))
        for repository in repositories:
            self._clean(snapshot.scan_repository(repository, asked, self.look))
        if not models:
            for folder in find_local_folders(self.path, self.look):
                self._clean(local_dirs.scan_local(folder, asked, self.look))
            if "unreferenced" in self.classes:
                for root in tree_roots(self.path):
                    self._sweep_store(root)

    # --- one repository or folder ------------------------------------------------------------------------------------

    def _clean(self, content: Content) -> None:
        if self.classes & {"corrupt", "sparse"}:
            hashing.verify([content], self.look, sparse_only="corrupt" not in self.classes)
        chosen = [broken for broken in content.broken if self._chosen(broken)]
        partials = content.partials if "partials" in self.classes else []
        locks = self._all_locks(content) if chosen else []
        doomed = [(hf_locks.Candidate(each.path, each.stat, locks), each) for each in chosen if each.stat]
        # The partials are judged in any case: one that is alive means that a client is at work here.
        candidates = [*(content.partials if doomed else partials), *(each for each, _broken in doomed)]
        with hf_locks.judged(candidates, self.path, not self.check_mode, self.idle):
            for partial in partials:
                self._settle(
                    partial,
                    "partials",
                    partial.stat.st_size,
                    functools.partial(hf_partials.remove, self.path, partial, self.check_mode),
                )
            alive = next((partial for partial in content.partials if partial.live), None)
            began = bool(doomed) and self._began(content, locks)
            for each, broken in doomed:
                if began and each.live is False:
                    each.live, each.reason = True, _BEGAN
                if alive and each.live is False:
                    each.live, each.reason = True, f"a download is under way, of {alive.path}"
                    each.holder_pid, each.holder_command = alive.holder_pid, alive.holder_command
                if (
                    each.live is False
                    and broken.state == "refs"
                    and time.time() - each.stat.st_mtime < _REF_REST_SECONDS
                ):
                    each.live, each.reason = None, "written a moment ago: a download may be about to start"
                if each.live is False:
                    each.reason = broken.reason + (f" ({broken.file})" if broken.file else "")
                size = _size(each)
                self._settle(each, broken.state, size, functools.partial(self._remove_broken, content, each, broken))

    def _chosen(self, broken: Broken) -> bool:
        if broken.state == "corrupt" and "sparse" in self.classes and "corrupt" not in self.classes:
            return True  # only those with holes were hashed
        return broken.state in self.classes and broken.state != "sparse"

    def _all_locks(self, content: Content) -> list[str]:
        if content.repository is None:
            return local_locks(content.path, self.look)
        return self._locks_of(content.repository)

    def _locks_of(self, repository: Repository) -> list[str]:
        locks = [entry.path for entry in self.look.entries(repository.locks_folder)]
        return repository.vllm_locks + [lock for lock in locks if lock.endswith(".lock")]

    def _began(self, content: Content, locks: list[str]) -> bool:
        """Whether there is a lock by now that was not there to be taken: a client has come."""
        return not set(self._all_locks(content)) <= set(locks)

    def _settle(self, each: hf_locks.Candidate, state: str, size: int, remove: t.Callable[[], int | None]) -> None:
        reason = each.reason
        if each.live is False:
            try:
                freed = remove()
            except OSError as error:
                reason = f"cannot be removed: {error.strerror}"
            else:
                if freed is not None:
                    self.removed += [_went(each.path, state, size, freed, reason), *self.links]
                    self.links = []
                    return
                if each.path in self.gone or not os.path.lexists(each.path):
                    return  # told already; or somebody else removed it, or it was finished
                reason = "it changed meanwhile" if each.live is False else each.reason
        self.kept.append(
            {
                "path": shown(each.path),
                "class": state,
                "size": size,
                "bytes": each.allocated,
                "reason": shown(reason),
                "holder_pid": each.holder_pid,
                "holder_command": each.holder_command,
            }
        )

    # --- removal, under the locks ------------------------------------------------------------------------------------

    def _remove_broken(self, content: Content, each: hf_locks.Candidate, broken: Broken) -> int | None:
        if broken.state == "dangling_links" and os.path.exists(each.path):
            return None  # its blob has come
        if content.repository is None or broken.etag is None:
            return self._remove(each.path, each.stat)
        links = list(snapshot.links_to(content.repository, {broken.etag}, self.look))
        if broken.state == "unreferenced" and links:
            return None
        payload = self._payload(content.repository, each)
        sharing = self._sharing(content.repository, payload) if payload and broken.state in _CONTENT else {}
        with self._at_rest(sharing, each) as at_rest:
            if not at_rest:
                return None
            # The blob before its links: a client that comes finds nothing, and waits for the lock to load it anew.
            freed = 0 if payload is None else self._remove_payload(content.repository, payload, broken.state, sharing)
            gone = self._remove(each.path, each.stat)
            if gone is None:
                return None
            for link, _name, _etag in links:
                self._remove_link(link, broken.state)
            return freed + gone

    def _remove(self, path: str, judged: os.stat_result) -> int | None:
        if path in self.gone:
            return None
        freed = hf_files.remove(self.path, path, judged, self.check_mode)
        if self.check_mode and freed is not None:
            self.gone.add(path)
        return freed

    def _remove_link(self, link: str, state: str) -> None:
        with contextlib.suppress(OSError):
            found = os.lstat(link)
            freed = self._remove(link, found)
            if freed is not None:
                self.links.append(_went(link, state, found.st_size, freed, "a link to that file"))

    def _payload(self, repository: Repository, each: hf_locks.Candidate) -> str | None:
        """Where the content really is, when it is in the store that repositories share."""
        if not stat.S_ISLNK(each.stat.st_mode) or not is_store(os.path.join(repository.root, "blobs")):
            return None
        payload = os.path.normpath(os.path.join(os.path.dirname(each.path), os.readlink(each.path)))
        return payload if os.path.dirname(os.path.dirname(payload)) == os.path.join(repository.root, "blobs") else None

    def _references(self, root: str, payload: str) -> set[str] | None:
        """Blobs that lead to the payload, but those that are gone by now."""
        blobs = blob_store.references(root, payload)
        return blobs and {blob for blob in blobs if self.gone.isdisjoint((blob, _repository_of(blob)))}

    def _sharing(self, repository: Repository, payload: str) -> dict[str, Repository]:
        """Blobs of other repositories that lead to the payload."""
        blobs = sorted(self._references(repository.root, payload) or ())
        others = {each.path: each for each in find_repositories(self.path, [], self.look) if each != repository}
        owners = {blob: others.get(_repository_of(blob)) for blob in blobs if BLOB.fullmatch(os.path.basename(blob))}
        return {blob: owner for blob, owner in owners.items() if owner}

    @contextlib.contextmanager
    def _at_rest(self, sharing: dict[str, Repository], each: hf_locks.Candidate) -> t.Iterator[bool]:
        """Hold the locks of the other repositories too. If somebody is at work in one, `each` stays and says so."""
        candidates: list[hf_locks.Candidate] = []
        for blob, repository in sharing.items():
            with contextlib.suppress(FileNotFoundError):
                candidates.append(hf_locks.Candidate(blob, os.lstat(blob), self._locks_of(repository)))
                blobs = self.look.entries(os.path.dirname(blob))
                candidates += [partial for entry in blobs for partial in hf_partials.partials_of(repository, entry)]
        for candidate in candidates:  # a data set and a model of one name have a lock in common
            candidate.locks = [lock for lock in candidate.locks if lock not in each.locks]
        with hf_locks.judged(candidates, self.path, not self.check_mode, self.idle):
            known = {lock for candidate in (each, *candidates) for lock in candidate.locks}
            busy = next((candidate for candidate in candidates if candidate.live is not False), None)
            if busy:
                each.live, each.reason = busy.live, f"shared with {_repository_of(busy.path)}: {busy.reason}"
                each.holder_pid, each.holder_command = busy.holder_pid, busy.holder_command
            elif any(not known.issuperset(self._locks_of(repository)) for repository in sharing.values()):
                each.live, each.reason = True, _BEGAN
            yield each.live is False

    def _remove_payload(
        self, repository: Repository, payload: str, state: str, sharing: t.Mapping[str, Repository]
    ) -> int:
        """A bad payload goes with every blob that leads to it, or the next download would link to it again.
        A good one stays as long as another repository has it."""
        mine = os.path.join(repository.path, "blobs") + os.sep
        if state not in _CONTENT:
            known = self._references(repository.root, payload)
            if known is None or any(not blob.startswith(mine) for blob in known):
                return 0
        with contextlib.suppress(FileNotFoundError):
            with self._store_lock(payload) as locked:
                freed = self._remove(payload, os.lstat(payload)) if locked else 0
            if locked:
                self._forget(f"{payload}.refs")
                for blob, other in sharing.items():
                    self._remove_with_links(other, blob, state)
            return freed or 0
        return 0

    def _remove_with_links(self, repository: Repository, blob: str, state: str) -> None:
        links = snapshot.links_to(repository, {os.path.basename(blob)}, self.look)
        for link in [*(link for link, _name, _etag in links), blob]:
            self._remove_link(link, state)

    def _forget(self, path: str) -> None:
        with contextlib.suppress(OSError):
            hf_files.remove(self.path, path, os.lstat(path), self.check_mode)

    @contextlib.contextmanager
    def _store_lock(self, payload: str) -> t.Iterator[bool]:
        """The client's own lock on a payload; without one nobody has published it the usual way."""
        try:
            with beneath.open_folder(self.path, os.path.dirname(payload)) as folder:
                descriptor = beneath.open_at(folder, f"{os.path.basename(payload)}.lock")
        except FileNotFoundError:
            yield True
            return
        except OSError:
            yield False
            return
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if self.check_mode else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)

    # --- the shared store, and whole repositories --------------------------------------------------------------------

    def _sweep_store(self, root: str) -> None:
        """Payloads that no repository has any more. Without the client's list of references they stay."""
        store = os.path.join(root, "blobs")
        for entry in blob_store.payloads(store, self.look) if is_store(store) else ():
            if self._references(root, entry.path) != set():
                continue
            try:
                found = os.lstat(entry.path)
            except OSError:
                continue
            each = hf_locks.Candidate(entry.path, found, [f"{entry.path}.lock"], reason="no repository has it")
            with hf_locks.judged([each], self.path, not self.check_mode, self.idle):
                if each.live is False:
                    each.reason = "no repository has it"
                self._settle(each, "unreferenced", found.st_size, functools.partial(self._remove_unused, root, each))

    def _remove_unused(self, root: str, each: hf_locks.Candidate) -> int | None:
        if self._references(root, each.path) != set():
            return None
        freed = self._remove(each.path, each.stat)
        if freed is not None:
            self._forget(f"{each.path}.refs")
        return freed

    def _prune(self, repository: Repository) -> None:
        content = snapshot.scan_repository(repository, Asked(headers=False), self.look)
        try:
            folder = os.lstat(repository.path)
        except OSError:
            return
        locks = self._all_locks(content)
        whole = hf_locks.Candidate(repository.path, folder, locks)
        with hf_locks.judged([whole, *content.partials], self.path, not self.check_mode, self.idle):
            alive = next((partial for partial in content.partials if partial.live), None)
            if alive and whole.live is False:
                whole.live, whole.reason = True, alive.reason
                whole.holder_pid, whole.holder_command = alive.holder_pid, alive.holder_command
            if whole.live is False and self._began(content, locks):
                whole.live, whole.reason = True, _BEGAN
            if whole.live is False:
                whole.holder_pid = hf_locks.user_of(self._names_of_content(repository))
                if whole.holder_pid is not None:
                    whole.live, whole.reason = True, "a process uses a file of it"
                    whole.holder_command = hf_locks.command_of(whole.holder_pid)
            if whole.live is False:
                whole.reason = f"{repository.repo_id} is not in keep_models"
            self._settle(whole, "pruned", content.bytes, lambda: self._remove_repository(repository, content))

    def _names_of_content(self, repository: Repository) -> set[str]:
        """What its files are called where they are open: by their hash, in the repository or in the shared store."""
        names = set()
        for entry in self.look.entries(os.path.join(repository.path, "blobs")):
            if BLOB.fullmatch(entry.name):
                names.add(entry.name)
                with contextlib.suppress(OSError):
                    names.add(os.path.basename(os.readlink(entry.path)))
        return names

    def _remove_repository(self, repository: Repository, content: Content) -> int:
        store = os.path.join(repository.root, "blobs")
        freed = 0
        if is_store(store):
            for entry in list(self.look.entries(os.path.join(repository.path, "blobs"))):
                if entry.is_symlink():
                    each = hf_locks.Candidate(entry.path, os.lstat(entry.path), [])
                    payload = self._payload(repository, each)
                    freed += self._remove_payload(repository, payload, "pruned", {}) if payload else 0
        if not self.check_mode:
            return freed + hf_files.remove_tree(self.path, repository.path)
        self.gone.add(repository.path)
        with contextlib.suppress(OSError):
            for entry in self.look.files(repository.path):
                freed += hf_files.freed_by(entry.stat(follow_symlinks=False))
        return freed


def _repository_of(blob: str) -> str:
    return os.path.dirname(os.path.dirname(blob))


def _size(each: hf_locks.Candidate) -> int:
    """Of what a link leads to, when it leads anywhere: that is what the operator knows it by."""
    with contextlib.suppress(OSError):
        return os.stat(each.path).st_size
    return each.stat.st_size


def _went(path: str, state: str, size: int, freed: int, reason: str) -> dict[str, t.Any]:
    return {"path": shown(path), "class": state, "size": size, "bytes": freed, "reason": shown(reason)}
