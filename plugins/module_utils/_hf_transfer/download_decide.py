# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model has to be downloaded, and the start of the download if so."""

from __future__ import annotations

import os
import typing as t

from .._hf_cache.usage import cached_bytes
from . import model_files
from .download_causes import Failed, offline_cause, own_cause
from .download_container import DownloadContainers, is_alive
from .download_follow import report_running
from .download_repair import Repair, check_space
from .download_task import DownloadTask


def begin(task: DownloadTask, containers: DownloadContainers) -> None:
    """Nothing if the model is complete; else join the download that is running, or start one."""
    check, offline, env_file = task.check_mode, task.options["offline"], task.options["env_file"]
    snapshot = task.look_up()
    running = containers.inspect(containers.name, may_fail=snapshot.complete or check or offline)
    if running is not None and not is_alive(running) and not check:  # left by a task that did not see its end
        containers.remove(running)
        running = None
    if snapshot.complete:
        task.point()
        return
    evidence = task.report_missing(snapshot)
    if offline:
        raise Failed(offline_cause(evidence))
    if running is not None and not check:
        report_running(task, running)
        task.result["joined"] = True
        return
    if containers.docker is None and not check:
        raise Failed(own_cause("docker_missing"))
    if check and not containers.has_image():
        task.result.update(status="missing", changed=True)
        have = cached_bytes(task.path, task.model).bytes
        check_space(task, max(0, (task.options["expected_bytes"] or 0) - have), 0)
        return
    try:
        _plan(task, containers, snapshot)
    except Failed as failed:
        # the file with the token is only written by a run that changes something
        if not (check and env_file and not os.path.exists(env_file)):
            raise
        task.result.update(status="missing", changed=True)
        task.module.warn(f"the hub did not say which files it has: {failed}")


def _plan(task: DownloadTask, containers: DownloadContainers, snapshot: model_files.Snapshot) -> None:
    """Get the list of files from the hub, make room for them, and start."""
    answer = containers.ask_hub()
    if not model_files.is_commit(str(answer.get("commit"))):
        raise Failed(own_cause("client_failed", f"the hub names no commit: {answer.get('commit')}"))
    commit, client = str(answer.get("commit")), str(answer.get("client"))
    everything = model_files.parse_listing(answer.get("files"))
    files = model_files.wanted(everything)
    if not model_files.has_weights(files):
        raise Failed(own_cause("no_weights", f"{task.model} has {len(everything)} files"))
    sizes = model_files.by_blob(files)
    if snapshot.commit != commit:
        snapshot = model_files.Snapshot(commit, None, {}, list(files), [])
    absent = [name for name, file in files.items() if snapshot.present.get(name) != file.size]
    # of a wrong size, or a link that leads nowhere or out of the cache
    bad = [name for name in absent if os.path.lexists(os.path.join(snapshot.path or "", name)) and snapshot.path]
    task.result.update(
        commit=commit,
        client=client,
        files=[{"name": name, "bytes": files[name].size} for name in absent],
        missing=absent,
        expected_bytes=sum(sizes.values()),
        changed=bool(absent),
        status="missing" if absent else "complete",
    )
    there = {name: size for name, size in snapshot.present.items() if name in files and name not in bad}
    task.before, task.after = _listing(there), _listing({name: file.size for name, file in files.items()})
    repair = Repair(task)
    kept, freed = repair.clear_partials(sizes, model_files.resumes(client))
    damaged = repair.damaged(snapshot, bad, files)
    gone = {path for damage in damaged for path in damage.chain}
    freed += sum(damage.freed for damage in damaged)
    check_space(task, repair.needed(sizes, kept, gone), freed)
    repair.remove_damaged(damaged)  # only once there is enough space for the replacements
    task.result["bytes"] = model_files.blob_bytes(task.folder, files)
    if task.check_mode:
        return
    model_files.record(task.folder, commit, files)
    other = containers.start(commit, files)
    if other is not None:
        report_running(task, other)
        task.result["joined"] = True


def _listing(files: t.Mapping[str, int]) -> str:
    return "".join(f"{name} {size}\n" for name, size in sorted(files.items()))
