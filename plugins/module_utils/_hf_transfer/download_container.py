# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers that list and download the files of a model, with the client of the image that will serve it."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import tempfile
import typing as t

from .._causes.text import mask
from .._host.docker import Container, parse_inspect
from .._outside.values import mapping, parse_json
from . import download_client
from .download_causes import Failed, explain
from .download_task import DownloadTask
from .model_files import Files

CONTAINER_CACHE = "/root/.cache/huggingface"
COMMAND_TIMEOUT = 30
# Longest time for the hub to list the files; the container and the client need some seconds to start.
LIST_TIMEOUT = 120
LABEL = "dgxspark.vllm.download"
COMMIT = f"{LABEL}.commit"
JOB = f"{LABEL}.job"
# What root in the container needs of the rights that Docker gives: the folders of a cache may be anybody's.
# Where memory is short it goes, and not a server that runs. No limit of memory: the buffers of hf_xet are 8 GB by
# default, and 64 GB where the owner asks for speed (HF_XET_HIGH_PERFORMANCE).
RIGHTS = (
    *("--cap-drop=ALL", "--cap-add=CHOWN", "--cap-add=DAC_OVERRIDE", "--cap-add=FOWNER"),
    *("--security-opt=no-new-privileges", "--pids-limit=4096", "--oom-score-adj=1000"),
    "--env=NVIDIA_VISIBLE_DEVICES=void",  # Docker's default runtime may add the GPU
)
RUN = "/run/dgxspark-download"  # in memory: the token is there until the client has read it


class DownloadContainers:
    def __init__(self, task: DownloadTask) -> None:
        self.task = task
        self.name = container_name(task.path, task.model)
        self.docker: str | None = task.module.get_bin_path("docker")

    def ask_hub(self) -> dict[str, t.Any]:
        """Commit, files and version of the client, from a container that ends at once."""
        task = self.task
        if not self.has_image():
            rc, _out, err = self.run(["pull", "--quiet", task.options["image"]], timeout=None)
            if rc:
                raise Failed(explain([err]))
        job = self._write_job("list", [], LIST_TIMEOUT)
        try:
            # the cache is where a client without a token looks for one
            cache = ["--volume", f"{task.cache}:{CONTAINER_CACHE}:ro"] if os.path.isdir(task.cache) else []
            name = f"{self.name}-list-{os.getpid()}"
            command = ["run", "--rm", "--name", name, "--memory=3g", *cache, *self._client(job)]
            rc, out, err = self.run(command, timeout=LIST_TIMEOUT + 60)
        finally:
            self._remove_job(job)
        answer = answer_of(out)
        if "done" not in answer:
            raise Failed(explain(answer.get("errors") or [mask(err.strip() or out.strip(), task.token)]))
        return dict(answer["done"])

    def start(self, commit: str, files: Files) -> Container | None:
        """Start the download; or the container of another task that started it a moment earlier."""
        task = self.task
        os.makedirs(task.cache, exist_ok=True)
        job = self._write_job("download", sorted(files), None)
        labels = {LABEL: task.model, COMMIT: commit, JOB: job}
        command = ["run", "--detach", "--name", self.name, "--log-driver", "json-file"]
        command += ["--log-opt=max-size=20m", "--log-opt=max-file=2"]
        command += [f"--label={name}={value}" for name, value in labels.items()]
        command += ["--volume", f"{task.cache}:{CONTAINER_CACHE}", *self._client(job)]
        rc, out, err = self.run(command)
        if rc == 0:
            task.result.update(status="running", container=out.strip()[:12])
            return None
        self._remove_job(job)
        other = self.inspect(self.name)
        if other is not None and is_alive(other):
            return other
        if other is not None:
            self.remove(other)
        raise Failed(explain([err.strip()]))

    def _write_job(self, task: str, files: list[str], timeout: int | None) -> str:
        """A folder for the container: the client, and its instructions."""
        options = self.task.options
        os.makedirs(RUN, mode=0o700, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f"{self.name}-", dir=RUN)
        environment = {name: str(value) for name, value in options["environment"].items()}
        # The cache is mounted, not the tree: whoever can write to the cache could make of the tree a link out of it.
        tree = os.path.normpath(os.path.join(CONTAINER_CACHE, os.path.relpath(self.task.path, self.task.cache)))
        environment.update(HF_HUB_CACHE=tree, HF_HUB_DISABLE_PROGRESS_BARS="1")
        environment.update(HF_HUB_DISABLE_TELEMETRY="1", HF_XET_CHUNK_CACHE_SIZE_BYTES="0")  # an unused 10 GB
        if options["endpoint"]:
            environment["HF_ENDPOINT"] = options["endpoint"]
        content = {
            "task": task,
            "repo": self.task.model,
            "revision": self.task.wanted,
            "files": files,
            "token": self.task.token,
            "environment": environment,
            "timeout": timeout,
            "umask": self.task.umask,
        }
        for name, text in (
            ("client.py", inspect.getsource(download_client)),
            ("job.json", json.dumps(content)),
        ):
            handle = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
        return folder

    def _client(self, job: str) -> list[str]:
        image = self.task.options["image"]
        return [*RIGHTS, "--volume", f"{job}:/job", "--entrypoint", "python3", image, "/job/client.py", "/job/job.json"]

    def remove(self, container: Container) -> None:
        """Remove the container and the folder of its job, whatever its state is."""
        self.run(["rm", "--force", container.id])
        job = os.path.normpath(container.labels.get(JOB, ""))
        if os.path.dirname(job) == RUN:
            self._remove_job(job)

    def _remove_job(self, job: str) -> None:
        """The container writes there, too: shutil.rmtree() ends at a depth that `rm` does not know."""
        self.task.module.run_command(["rm", "-rf", "--", job])

    def has_image(self) -> bool:
        return self.docker is not None and self.run(["image", "inspect", self.task.options["image"]])[0] == 0

    def inspect(self, name: str, may_fail: bool = False) -> Container | None:
        if self.docker is None:
            return None
        rc, out, err = self.run(["inspect", "--type", "container", "--", name])
        if rc == 0:
            return parse_inspect(out)
        if "no such" in err.lower() or may_fail:
            return None
        raise Failed(explain([err.strip()]))

    def run(self, arguments: list[str], timeout: int | None = COMMAND_TIMEOUT) -> tuple[int, str, str]:
        """A Docker command with a time limit."""
        limit = ["timeout", str(timeout)] if timeout else []
        rc, out, err = self.task.module.run_command([*limit, str(self.docker), *arguments])
        if rc == 124:
            err = f"TimeoutError: docker {arguments[0]} gave no answer in {timeout} s"
        return rc, out, err


def container_name(path: str, model: str) -> str:
    """One download at a time for a model in a cache: the name of a container exists once."""
    return "dgxspark-download-" + hashlib.sha256(f"{os.path.realpath(path)}\n{model}".encode()).hexdigest()[:12]


def is_alive(container: Container) -> bool:
    """Whether it runs or is about to: another task may have created it a moment ago."""
    return container.status in ("running", "paused") or (container.status == "created" and not container.error)


def answer_of(output: str) -> dict[str, t.Any]:
    """The answer of the client, which is the last thing it prints."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            found = mapping(parse_json(line))
            if "done" in found or "errors" in found:
                return found
    return {}
