#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Get a model into the cache, with the client of the image that will serve it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_download
short_description: Downloads a model into a Hugging Face cache, with live progress
version_added: "0.1.0"
description:
  - Gets the files that vLLM needs of a model into the cache, so that a later start needs no download. These are
    configuration, tokenizer, templates, and the weights in the root of the repository (safetensors, or else C(*.bin),
    or else C(*.pt)), not the same weights in other forms (folders C(original), C(metal), C(onnx), ...).
  - The download is done by the C(huggingface_hub) of the image that will serve the model, in a container of its own, so
    that what it writes is what the server reads. Versions 0.34 to 2.x are understood.
  - A model that is complete costs one look at the disk and asks nobody. What is missing is found by the list of files
    that the hub gave for the commit, so a newer commit of a branch is not looked for once one is complete.
  - Before the first byte, dead partial downloads of the model are removed (but those that this client can resume), free
    space is compared with what is missing, and files of a wrong size are removed.
  - The download goes on when the playbook is stopped. The next task for the same model and cache joins it, and so does
    a second one at the same time. Only one container at a time downloads a model into a cache.
  - The action plugin of the same name waits and prints the progress; a line is printed every ten seconds at most.
options:
  model:
    description: Hugging Face id of the model, such as V(Qwen/Qwen3-8B-FP8).
    type: str
    required: true
  revision:
    description: Branch, tag or commit.
    type: str
    default: main
  path:
    description: Absolute path of the cache (C(HF_HUB_CACHE)). The root directory and a symbolic link are refused.
    type: path
    default: /opt/hf
  image:
    description: Image whose client does the download. It is pulled if it is not there. Needed unless O(offline=true).
    type: str
  endpoint:
    description: Address of a Hugging Face mirror. If it is not set, the public hub.
    type: str
  env_file:
    description:
      - File on the host with the line C(HF_TOKEN='...'), for gated models. It need not exist.
      - The token is no option of this module, so that it shows in no log. In the container it is in no argument and in
        no environment that C(docker inspect) shows.
    type: path
  environment:
    description: More environment variables for the client, such as C(HTTPS_PROXY).
    type: dict
    default: {}
  offline:
    description: Ask nobody, start nothing. Fail if the model is not complete.
    type: bool
    default: false
  expected_bytes:
    description: Size of the model in bytes, where the hub was not asked for it, as in check mode without the image.
    type: int
  keep_free:
    description: Bytes of the disk that have to stay free after the download.
    type: int
    default: 2147483648
  stall_timeout:
    description:
      - The download is stopped and fails when it has not grown for so many seconds. While it grows it may take as long
        as it wants to. Clients write up to 10 MB at once, so a slow line needs a generous limit.
    type: int
    default: 900
  poll_interval:
    description: Seconds between two looks at the beginning. Later it grows to 4 seconds.
    type: float
    default: 1.0
  follow:
    description: For the action plugin. Id of the container to look at; nothing is started.
    type: str
  cancel:
    description: For the action plugin. Stop the container O(follow).
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and changes nothing.
    support: full
    details:
      - Says what would be downloaded. The hub is asked if the image is there; otherwise only what is missing is known.
  diff_mode:
    description: Shows what changes in diff mode.
    support: full
    details: Lists the model's files before and after.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - Needs root, because the files belong to the user of the container, which is root in vLLM's images.
  - Of a file's content only the size is compared here. The client of the image checks what it downloads.
  - A task that joined the download of another one, and saw it succeed, is changed too.
author:
  - The dgxspark.vllm authors (@dgxspark)
seealso:
  - module: dgxspark.vllm.hf_cache_info
  - module: dgxspark.vllm.hf_cache_clean
"""

EXAMPLES = r"""
- name: Get a model before it is needed
  dgxspark.vllm.hf_download:
    model: Qwen/Qwen3-8B-FP8
    path: /opt/hf
    image: nvcr.io/nvidia/vllm:25.09-py3
  become: true

- name: Get a pinned revision of a gated model from a mirror
  dgxspark.vllm.hf_download:
    model: meta-llama/Llama-3.1-8B-Instruct
    revision: 0e9e39f249a16976918f6564b8830bc894c89659
    image: nvcr.io/nvidia/vllm:25.09-py3
    endpoint: https://hub.example.org
    env_file: /opt/vllm/.env
  become: true

- name: Fail unless the model is complete, without a question to anybody
  dgxspark.vllm.hf_download:
    model: Qwen/Qwen3-8B-FP8
    offline: true
  become: true
"""

RETURN = r"""
status:
  description:
    - V(complete) - all files are there.
    - V(missing) - check mode, RV(files) would be downloaded.
    - V(running) and V(gone) - for the action plugin, never the result of a task.
    - V(failed) - see RV(cause).
  returned: always
  type: str
  sample: complete
commit:
  description: Commit of the revision. V(null) if it is not known.
  returned: always
  type: str
  sample: 220b46e3b2180893580a4454f21f22d3ebb187d3
snapshot:
  description: Folder with the files. V(null) as long as there is none.
  returned: always
  type: str
  sample: /opt/hf/models--Qwen--Qwen3-8B-FP8/snapshots/220b46e3b2180893580a4454f21f22d3ebb187d3
files:
  description: Files that were, or would be, downloaded. Empty if that is not known.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Path in the repository., type: str, returned: always, sample: config.json}
    bytes: {description: Its size., type: int, returned: always, sample: 905}
missing:
  description: What is missing or damaged, by name, before the download.
  returned: always
  type: list
  elements: str
  sample: [model-00002-of-00002.safetensors]
removed:
  description: Files that made room before the download, dead partials and damaged ones.
  returned: always
  type: list
  elements: str
  sample: []
bytes:
  description: Bytes of the wanted files that are on the disk, parts of files included. V(null) if not known.
  returned: always
  type: int
  sample: 9452126208
expected_bytes:
  description: Size of all wanted files. V(null) if not known.
  returned: always
  type: int
  sample: 9452126208
client:
  description: Version of the client that did the download. V(null) if none was asked.
  returned: always
  type: str
  sample: 0.34.4
joined:
  description: Whether the download was already running when the task began.
  returned: always
  type: bool
  sample: false
container:
  description: Id of the container that downloads or did. V(null) if there was none.
  returned: always
  type: str
  sample: 0d2c1fe39a1b
cause:
  description: Why it failed. V(null) if it did not.
  returned: always
  type: dict
  contains:
    id: {description: Short name of the cause., type: str, returned: always, sample: hf_gated_noauth}
    meaning: {description: What happened., type: str, returned: always, sample: the model is gated}
    remedy:
      description: What to do, in terms of the variables of the roles.
      type: str
      returned: always
      sample: accept the license on the model's page and set vllm_hf_token
    evidence: {description: 'What shows it, without secrets.', type: str, returned: always, sample: 401 Client Error}
    link:
      description: Where this collection's documentation says more.
      type: str
      returned: always
      sample: docs/troubleshooting.md#hf_gated_noauth
seconds:
  description: How long the task took.
  returned: always
  type: float
  sample: 97.5
msg:
  description: What failed, what it means and what to do, in one line.
  returned: on failure
  type: str
  sample: "sandbox/gated cannot be downloaded to /opt/hf on spark01: the model is gated ..."
"""

import contextlib
import inspect
import json
import os
import re
import shutil
import stat
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.text import mask
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import files as hf_files
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks as hf_locks
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import partials as hf_partials
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.usage import cached_bytes
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import download as hf_download
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import download_client
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.docker import Container, parse_inspect
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.spark import filesystem_space
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import dotenv_value

COMMAND_TIMEOUT = 30
# Longest time for the hub to list the files; the container and the client need some seconds to start.
LIST_TIMEOUT = 120
LABEL = "dgxspark.vllm.download"
COMMIT = f"{LABEL}.commit"
JOB = f"{LABEL}.job"
RUN = "/run/dgxspark-download"  # in memory: the token is there until the client has read it


class Failed(Exception):
    """The download cannot be done, for this cause."""

    def __init__(self, cause: dict[str, t.Any]) -> None:
        super().__init__(cause["meaning"])
        self.cause = cause


class Download:
    """One look at a download, which starts it where there is none."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.options: dict[str, t.Any] = module.params
        self.path: str = os.path.normpath(module.params["path"])
        self.model: str = module.params["model"]
        self.revision: str = module.params["revision"]
        self.folder = hf_download.repository(self.path, self.model)
        self.name = hf_download.container_name(self.path, self.model)
        self.docker: str | None = module.get_bin_path("docker")
        self.token = self.read_token()
        # a cache that a group shares stays one: its folder's rights are those of what is made in it
        self.umask = hf_files.creation_mask(self.path)
        os.umask(self.umask)
        self.before = self.after = ""
        self.result: dict[str, t.Any] = {
            "changed": False,
            "status": "complete",
            "commit": None,
            "snapshot": None,
            "files": [],
            "missing": [],
            "removed": [],
            "bytes": None,
            "expected_bytes": module.params["expected_bytes"],
            "client": None,
            "joined": False,
            "container": None,
            "cause": None,
        }

    def read_token(self) -> str:
        path = self.options["env_file"]
        if not path:
            return ""
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return dotenv_value(file.read(), "HF_TOKEN") or ""
        except OSError:  # no file, no token: the hub says so if it wants one
            return ""

    def look(self) -> dict[str, t.Any]:
        try:
            if self.options["follow"]:
                self.follow(self.options["follow"])
            else:
                self.begin()
        except Failed as failed:
            self.result.update(status="failed", cause=failed.cause)
        return self.result

    # --- the first look ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        check = self.module.check_mode
        snapshot = self.look_up()
        there = self.inspect(self.name, may_fail=snapshot.complete or check or self.options["offline"])
        if there is not None and not is_alive(there) and not check:  # of a task that did not see its end
            self.remove(there)
            there = None
        if snapshot.complete:
            return
        self.result["missing"] = snapshot.missing + snapshot.damaged or ["the snapshot"]
        if self.options["offline"]:
            raise Failed(hf_download.offline_cause("missing: " + ", ".join(self.result["missing"][:5])))
        if there is not None and not check:
            self.running(there)
            self.result["joined"] = True
            return
        if self.docker is None and not check:
            raise Failed(hf_download.own_cause("docker_missing"))
        if check and not self.has_image():
            self.result.update(status="missing", changed=True)
            have = cached_bytes(self.path, self.model).bytes
            self.check_space(max(0, (self.options["expected_bytes"] or 0) - have), 0)
            return
        try:
            self.plan(snapshot)
        except Failed as failed:
            # the file with the token is only written by a run that changes something
            if not (check and self.options["env_file"] and not os.path.exists(self.options["env_file"])):
                raise
            self.result.update(status="missing", changed=True)
            self.module.warn(f"the hub did not say which files it has: {failed}")

    def plan(self, snapshot: hf_download.Snapshot) -> None:
        """Ask the hub for the files, make room for them, and start."""
        answer = self.ask_hub()
        if not hf_download.is_commit(str(answer.get("commit"))):
            raise Failed(hf_download.own_cause("client_failed", f"the hub names no commit: {answer.get('commit')}"))
        commit, client = str(answer.get("commit")), str(answer.get("client"))
        everything = hf_download.parse_listing(answer.get("files"))
        files = hf_download.wanted(everything)
        if not hf_download.has_weights(files):
            raise Failed(hf_download.own_cause("no_weights", f"{self.model} has {len(everything)} files"))
        sizes = hf_download.by_blob(files)
        if snapshot.commit != commit:
            snapshot = hf_download.Snapshot(commit, None, {}, list(files), [])
        absent = [name for name, file in files.items() if snapshot.present.get(name) != file.size]
        # of a wrong size, or a link that leads nowhere or out of the cache
        bad = [name for name in absent if os.path.lexists(os.path.join(snapshot.path or "", name)) and snapshot.path]
        self.result.update(
            commit=commit,
            client=client,
            files=[{"name": name, "bytes": files[name].size} for name in absent],
            missing=absent,
            expected_bytes=sum(sizes.values()),
            changed=bool(absent),
            status="missing" if absent else "complete",
        )
        there = {name: size for name, size in snapshot.present.items() if name in files and name not in bad}
        self.before, self.after = listing(there), listing({name: file.size for name, file in files.items()})
        kept, freed = self.clean(sizes, hf_download.resumes(client))
        damaged = self.damaged(snapshot, bad)
        gone = {path for chain in damaged for path in chain}
        freed += sum(hf_files.freed_by(os.lstat(path)) for path in gone)
        self.check_space(self.needed(sizes, kept, gone), freed)
        self.remove_damaged(damaged)  # not before it is known that there is room for what takes its place
        self.result["bytes"] = hf_download.blob_bytes(self.folder, files)
        if self.module.check_mode:
            return
        hf_download.record(self.folder, commit, files)
        self.start(commit, files)

    def ask_hub(self) -> dict[str, t.Any]:
        if not self.has_image():
            rc, _out, err = self.run(["pull", "--quiet", self.options["image"]], timeout=None)
            if rc:
                raise Failed(hf_download.explain([err]))
        job = self.job("list", [], self.revision, LIST_TIMEOUT)
        try:
            # the cache is where a client without a token looks for one
            cache = ["--volume", f"{self.path}:{hf_download.CONTAINER_CACHE}:ro"] if os.path.isdir(self.path) else []
            command = ["run", "--rm", "--name", f"{self.name}-list-{os.getpid()}", *cache, *self.container(job)]
            rc, out, err = self.run(command, timeout=LIST_TIMEOUT + 60)
        finally:
            shutil.rmtree(job, ignore_errors=True)
        answer = hf_download.answer_of(out)
        if "done" not in answer:
            raise Failed(hf_download.explain(answer.get("errors") or [mask(err.strip() or out.strip(), self.token)]))
        return dict(answer["done"])

    def damaged(self, snapshot: hf_download.Snapshot, names: list[str]) -> list[list[str]]:
        """A client takes a file that is there as it is: the link has to go, and what it leads to."""
        inside = os.path.realpath(self.path) + os.sep
        chains = []
        for name in names:
            path, chain = os.path.join(os.path.realpath(str(snapshot.path)), name), list[str]()
            for _hop in range(3):  # snapshot -> blobs -> a store that repositories share
                folder = os.path.realpath(os.path.dirname(path))
                if not f"{folder}{os.sep}".startswith(inside) or not os.path.lexists(path):
                    break
                chain.append(os.path.join(folder, os.path.basename(path)))
                if not os.path.islink(path):
                    break
                path = os.path.join(folder, os.readlink(path))
            chains.append(chain)
        return [chain for chain in chains if chain]

    def remove_damaged(self, chains: list[list[str]]) -> None:
        """Under the locks: a file that somebody else is about to replace stays."""
        root, check = os.path.realpath(self.path), self.module.check_mode
        mine = layout.Repository(self.model, "model", self.folder, self.path, layout.tree_roots(self.path))
        candidates = []
        for chain in chains:
            locks = [os.path.join(mine.locks_folder, f"{os.path.basename(path)}.lock") for path in chain[1:]]
            locks += [f"{path}.lock" for path in chain[2:]]
            candidates.append(hf_locks.Candidate(chain[0], os.lstat(chain[0]), mine.vllm_locks + locks))
        with hf_locks.judged(candidates, self.path, exclusive=not check):
            for candidate, chain in zip(candidates, chains):
                if candidate.live:
                    self.module.warn(f"{candidate.path} is damaged and stays: {candidate.reason}")
                    continue
                for path in reversed(chain):  # the link at last: without it nobody would find the rest
                    with contextlib.suppress(FileNotFoundError):  # another name of it went before
                        found = os.lstat(path)
                        hf_files.remove(root, path, found, check)
                        if not stat.S_ISLNK(found.st_mode) and path not in self.result["removed"]:
                            self.result["removed"].append(path)

    def clean(self, sizes: dict[str, int], resume: bool) -> tuple[dict[str, int], int]:
        """Remove dead partials, but those that can be resumed: their bytes by blob; and the bytes freed."""

        def can_be_resumed(partial: hf_partials.Partial) -> bool:
            return resume and hf_download.can_be_resumed(partial.path, partial.stat, sizes)

        cleared = hf_partials.clear(self.path, self.model, can_be_resumed, self.module.check_mode)
        self.result["removed"] += cleared.removed
        for problem in cleared.problems:
            self.module.warn(problem)
        return cleared.kept, cleared.freed if self.module.check_mode else 0

    def needed(self, sizes: dict[str, int], kept: dict[str, int], gone: set[str]) -> int:
        """Bytes to come. A blob is there unless it, or what it leads to, is one of those that go."""
        blobs = os.path.join(os.path.realpath(self.folder), "blobs")
        there = {etag for etag in sizes if os.path.exists(path := os.path.join(blobs, etag)) and path not in gone}
        return sum(size - kept.get(etag, 0) for etag, size in sizes.items() if etag not in there)

    def check_space(self, needed: int, freed: int) -> None:
        free, keep = filesystem_space(self.path)["free_bytes"] + freed, self.options["keep_free"]
        if needed and needed + keep > free:
            raise Failed(hf_download.no_space_cause(self.path, needed, free, keep))

    def start(self, commit: str, files: hf_download.Files) -> None:
        os.makedirs(self.path, exist_ok=True)
        job = self.job("download", sorted(files), self.revision, None)
        labels = {LABEL: self.model, COMMIT: commit, JOB: job}
        command = ["run", "--detach", "--name", self.name, "--log-driver", "json-file"]
        command += [f"--label={name}={value}" for name, value in labels.items()]
        command += ["--volume", f"{self.path}:{hf_download.CONTAINER_CACHE}", *self.container(job)]
        rc, out, err = self.run(command)
        if rc == 0:
            self.result.update(status="running", container=out.strip()[:12])
            return
        shutil.rmtree(job, ignore_errors=True)
        other = self.inspect(self.name)
        if other is not None and is_alive(other):  # somebody was faster
            self.running(other)
            self.result["joined"] = True
            return
        if other is not None:
            self.remove(other)
        raise Failed(hf_download.explain([err.strip()]))

    # --- the looks after it ------------------------------------------------------------------------------------------

    def follow(self, container: str) -> None:
        there = self.inspect(container)
        if there is None:
            self.result["status"] = "gone"
        elif self.options["cancel"]:
            self.remove(there)
            self.result["status"] = "gone"
        elif is_alive(there):
            self.running(there)
        else:
            self.ended(there)

    def running(self, container: Container) -> None:
        files = hf_download.wanted(hf_download.recorded(self.folder, container.labels.get(COMMIT, "")))
        self.result.update(
            status="running",
            container=container.id,
            commit=container.labels.get(COMMIT),
            bytes=hf_download.blob_bytes(self.folder, files),
            expected_bytes=sum(hf_download.by_blob(files).values()) or self.options["expected_bytes"],
        )

    def ended(self, container: Container) -> None:
        rc, output, errors = self.run(["logs", container.id])
        if rc and re.search("no such|marked for removal", errors.lower()):
            self.result["status"] = "gone"  # another task saw the end first, and removes it
            return
        if rc:
            raise Failed(hf_download.explain([errors.strip()]))
        self.remove(container)
        self.result["container"] = container.id
        answer = hf_download.answer_of(output)
        if "done" in answer:
            self.result["client"] = answer["done"].get("client")
            snapshot = self.look_up()
            if not snapshot.complete:
                self.result["missing"] = snapshot.missing + snapshot.damaged or ["the snapshot"]
                evidence = "missing: " + ", ".join(self.result["missing"][:5])
                raise Failed(hf_download.own_cause("incomplete", evidence))
            self.result["changed"] = True
            return
        # a client that crashes says why on stderr, in its last line
        said = [line for line in [*output.splitlines(), *errors.splitlines()] if line.strip()]
        if "errors" in answer:
            raise Failed(hf_download.explain(answer["errors"]))
        if container.exit_code in (137, 143):
            raise Failed(hf_download.own_cause("client_killed", f"exit code {container.exit_code}"))
        last = [container.error] if container.error else [mask(line, self.token) for line in said[:-21:-1]]
        raise Failed(hf_download.explain(last or [f"exit code {container.exit_code}"]))

    def look_up(self) -> hf_download.Snapshot:
        snapshot = hf_download.look_up(self.path, self.model, self.revision)
        files = hf_download.wanted(hf_download.recorded(self.folder, snapshot.commit or ""))
        self.result.update(commit=snapshot.commit, snapshot=snapshot.path)
        if files:
            self.result.update(
                bytes=hf_download.blob_bytes(self.folder, files),
                expected_bytes=sum(hf_download.by_blob(files).values()),
            )
        return snapshot

    # --- Docker ------------------------------------------------------------------------------------------------------

    def job(self, task: str, files: list[str], revision: str, timeout: int | None) -> str:
        """A folder for the container: what to run, and what to do."""
        os.makedirs(RUN, mode=0o700, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f"{self.name}-", dir=RUN)
        environment = {name: str(value) for name, value in self.options["environment"].items()}
        environment.update(HF_HUB_CACHE=hf_download.CONTAINER_CACHE, HF_HUB_DISABLE_PROGRESS_BARS="1")
        environment.update(HF_HUB_DISABLE_TELEMETRY="1", HF_XET_CHUNK_CACHE_SIZE_BYTES="0")  # 10 GB that nobody reads
        if self.options["endpoint"]:
            environment["HF_ENDPOINT"] = self.options["endpoint"]
        content = {
            "task": task,
            "repo": self.model,
            "revision": revision,
            "files": files,
            "token": self.token,
            "environment": environment,
            "timeout": timeout,
            "umask": self.umask,
        }
        for name, text in (
            ("client.py", inspect.getsource(download_client)),
            ("job.json", json.dumps(content)),
        ):
            handle = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
        return folder

    def container(self, job: str) -> list[str]:
        image = self.options["image"]
        return ["--volume", f"{job}:/job", "--entrypoint", "python3", image, "/job/client.py", "/job/job.json"]

    def remove(self, container: Container) -> None:
        """The container and the folder of its job, whatever it was doing."""
        self.run(["rm", "--force", container.id])
        job = os.path.normpath(container.labels.get(JOB, ""))
        if os.path.dirname(job) == RUN:
            shutil.rmtree(job, ignore_errors=True)

    def has_image(self) -> bool:
        return self.docker is not None and self.run(["image", "inspect", self.options["image"]])[0] == 0

    def inspect(self, name: str, may_fail: bool = False) -> Container | None:
        if self.docker is None:
            return None
        rc, out, err = self.run(["inspect", "--type", "container", "--", name])
        if rc == 0:
            return parse_inspect(out)
        if "no such" in err.lower() or may_fail:
            return None
        raise Failed(hf_download.explain([err.strip()]))

    def run(self, arguments: list[str], timeout: int | None = COMMAND_TIMEOUT) -> tuple[int, str, str]:
        """A command of Docker that may not hang."""
        limit = ["timeout", str(timeout)] if timeout else []
        rc, out, err = self.module.run_command([*limit, str(self.docker), *arguments])
        if rc == 124:
            err = f"TimeoutError: docker {arguments[0]} gave no answer in {timeout} s"
        return rc, out, err


def is_alive(container: Container) -> bool:
    """Whether it works, or is about to: another task may have made it a moment ago."""
    return container.status in ("running", "paused") or (container.status == "created" and not container.error)


def listing(files: t.Mapping[str, int]) -> str:
    return "".join(f"{name} {size}\n" for name, size in sorted(files.items()))


def main() -> None:
    module = AnsibleModule(
        argument_spec=hf_download.argument_spec(),
        supports_check_mode=True,
    )
    options = module.params
    try:
        layout.check_path(options["path"])
        layout.check_models([options["model"]], "model")
        wrong = hf_download.check_revision(options["revision"])
        if not (wrong or options["offline"] or options["image"]):
            wrong = "image: is not set; use the image that will serve the model, or offline: true"
        if wrong:
            raise layout.CacheError(wrong)
        download = Download(module)
        result = download.look()
    except layout.CacheError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        remedy = "run this task with become: true" if isinstance(error, PermissionError) else "look at that path"
        module.fail_json(msg=f"{error.filename or options['path']}: {error.strerror}; {remedy}")
    if module._diff and download.before != download.after:
        result["diff"] = {"before": download.before, "after": download.after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
