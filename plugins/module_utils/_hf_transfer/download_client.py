# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs inside of the image: its own huggingface_hub lists a repository, or downloads files of it.

The container is given the text of this file, so it stands on its own: the standard library and huggingface_hub,
0.34 (image 25.09) to 2.x.

argv: the file with the job, which holds the token and is removed as soon as it is read:
    {"task": "list" or "download", "repo": "...", "revision": "...", "files": [], "token": "", "environment": {},
     "timeout": SECONDS or null, "umask": 18}
stdout, last line: {"done": {...}} or {"errors": [the innermost exception, ..., the outermost]}
"""

from __future__ import annotations

import glob
import json
import os
import signal
import sys
import threading
import typing as t

LONGEST_ERROR = 3000
# The server may be offline; who downloads is not, whatever the job or the image says.
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def main(argv: list[str]) -> None:
    # The first process of a container is deaf for signals that it does not ask for.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(143))
    with open(argv[1], encoding="utf-8") as file:
        job = json.load(file)
    os.unlink(argv[1])
    os.umask(job["umask"])
    if job["timeout"]:
        late = threading.Timer(job["timeout"], give_up, [job["timeout"]])
        late.daemon = True
        late.start()
    os.environ.update(job["environment"])  # before huggingface_hub is imported, which reads it then
    for name in OFFLINE:
        os.environ.pop(name, None)
    try:
        answer: dict[str, t.Any] = {"done": TASKS[job["task"]](job)}
    except BaseException as error:
        answer = {"errors": chain(error, job["token"])}
    say(answer)


def say(answer: dict[str, t.Any]) -> None:
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0 if "done" in answer else 1)  # threads of the client may go on for a while


def give_up(seconds: float) -> None:
    say({"errors": [f"TimeoutError: no answer of the hub within {seconds:.0f} s"]})


def list_files(job: dict[str, t.Any]) -> dict[str, t.Any]:
    import huggingface_hub  # type: ignore[import-not-found]

    found = huggingface_hub.HfApi().model_info(
        job["repo"], revision=job["revision"], files_metadata=True, token=job["token"] or None
    )
    files = {
        file.rfilename: {"size": file.size, "etag": file.lfs.sha256 if file.lfs else file.blob_id}
        for file in found.siblings or []
    }
    return {"client": huggingface_hub.__version__, "commit": found.sha, "files": files}


def download(job: dict[str, t.Any]) -> dict[str, t.Any]:
    import huggingface_hub

    snapshot = huggingface_hub.snapshot_download(
        job["repo"],
        revision=job["revision"],
        allow_patterns=[glob.escape(name) for name in job["files"]],
        token=job["token"] or None,
    )
    commit = os.path.basename(snapshot)
    manifest = os.path.join(snapshot, "..", "..", "trees", f"{commit}.json")
    if os.path.exists(manifest):  # the client makes it for its own user alone
        os.chmod(manifest, 0o666 & ~job["umask"])
    return {"client": huggingface_hub.__version__, "commit": commit}


TASKS: dict[str, t.Callable[[dict[str, t.Any]], dict[str, t.Any]]] = {"list": list_files, "download": download}


def chain(error: BaseException | None, token: str) -> list[str]:
    """The exception and what it came from, that first: an outer one may hide that the hub said 429."""
    texts: list[str] = []
    while error is not None and len(texts) < 10:
        kind = type(error)
        text = f"{kind.__module__}.{kind.__qualname__}: {error}"
        text = text[len("builtins.") :] if text.startswith("builtins.") else text
        texts.append((text.replace(token, "***") if token else text)[:LONGEST_ERROR])
        error = error.__cause__ or error.__context__
    return texts[::-1]


if __name__ == "__main__":
    main(sys.argv)
