# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a download that was started: running, complete, failed or gone."""

from __future__ import annotations

import re

from .._causes.text import mask
from .._host.docker import Container
from . import model_files
from .download_causes import Failed, explain, own_cause
from .download_container import COMMIT, DownloadContainers, answer_of, is_alive
from .download_task import DownloadTask


def follow(task: DownloadTask, containers: DownloadContainers, name: str) -> None:
    container = containers.inspect(name)
    if container is None:
        task.result["status"] = "gone"
    elif task.options["cancel"]:
        containers.remove(container)
        task.result["status"] = "gone"
    elif is_alive(container):
        report_running(task, container)
    else:
        report_end(task, containers, container)


def report_running(task: DownloadTask, container: Container) -> None:
    files = model_files.wanted(model_files.recorded(task.folder, container.labels.get(COMMIT, "")))
    task.result.update(
        status="running",
        container=container.id,
        commit=container.labels.get(COMMIT),
        bytes=model_files.blob_bytes(task.folder, files),
        expected_bytes=sum(model_files.by_blob(files).values()) or task.options["expected_bytes"],
    )


def report_end(task: DownloadTask, containers: DownloadContainers, container: Container) -> None:
    rc, output, errors = containers.run(["logs", container.id])
    if rc and re.search("no such|marked for removal", errors.lower()):
        task.result["status"] = "gone"  # another task saw the end first, and removes it
        return
    if rc:
        raise Failed(explain([errors.strip()]))
    containers.remove(container)
    task.result["container"] = container.id
    answer = answer_of(output)
    if "done" in answer:
        task.result["client"] = answer["done"].get("client")
        snapshot = task.look_up()
        if not snapshot.complete:
            raise Failed(own_cause("incomplete", task.report_missing(snapshot)))
        task.point()
        task.result["changed"] = True
        return
    if "errors" in answer:
        raise Failed(explain(answer["errors"]))
    if container.exit_code in (137, 143):
        raise Failed(own_cause("client_killed", f"exit code {container.exit_code}"))
    # a client that crashes gives the reason on stderr, in its last line
    lines = [line for line in [*output.splitlines(), *errors.splitlines()] if line.strip()]
    last = [container.error] if container.error else [mask(line, task.token) for line in lines[:-21:-1]]
    raise Failed(explain(last or [f"exit code {container.exit_code}"]))
