# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with programs that stand in for Docker and huggingface_hub; Docker's runs the real script."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import download_container
from ansible_collections.dgxspark.vllm.plugins.modules import hf_download

MODEL = "org/name"
COMMIT = "c" * 40
FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"x" * 5000, "README.md": b"hello"}
TOKEN = "hf_abcdefghijkl"

DOCKER = """#!{python}
import json, os, pathlib, subprocess, sys
here, argv = pathlib.Path({folder!r}), sys.argv[1:]
with (here / "calls").open("a") as calls:
    calls.write(" ".join(argv) + "\\n")
box = here / "container.json"
if argv[0] == "image":
    sys.exit(0 if (here / "image").exists() else 1)
elif argv[0] == "pull":
    sys.exit("Error: manifest unknown")
elif argv[0] == "inspect":
    if not box.exists():
        sys.exit("Error: No such container: " + argv[-1])
    print("[" + box.read_text() + "]")
elif argv[0] == "rm":
    box.unlink()
elif argv[0] == "logs":
    if (here / "refusal").exists():
        sys.exit((here / "refusal").read_text())
    print((here / "log").read_text())
    print((here / "errors").read_text() if (here / "errors").exists() else "", file=sys.stderr)
elif argv[0] == "run":
    job = next(word for word in argv if word.endswith(":/job"))[: -len(":/job")]
    environment = dict(os.environ, PYTHONPATH=str(here / "client"), FAKE=str(here))
    command = [sys.executable, job + "/client.py", job + "/job.json"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE)
    if "--detach" not in argv:
        sys.stdout.buffer.write(done.stdout)
        sys.exit(done.returncode)
    if box.exists():
        sys.exit("docker: Error: Conflict. The container name is already in use")
    (here / "log").write_bytes(done.stdout)
    labels = dict(word[len("--label="):].split("=", 1) for word in argv if word.startswith("--label="))
    state = dict(Status="exited", ExitCode=done.returncode)
    box.write_text(json.dumps(dict(Id="0" * 64, Name="x", State=state, Config=dict(Labels=labels))))
    print("0" * 64)
"""

# As 2.x: a listing with sizes, and a download that writes what was asked for.
CLIENT = """
import json, os, pathlib
from types import SimpleNamespace as N
here = pathlib.Path(os.environ["FAKE"])
fake = json.loads((here / "fake.json").read_text())
__version__ = fake["version"]
class HfApi:
    def model_info(self, repo, revision, files_metadata, token):
        (here / "seen.json").write_text(json.dumps({"token": token, "environment": dict(os.environ)}))
        if fake["error"]:
            raise RuntimeError(fake["error"])
        files = [N(rfilename=n, size=s, blob_id=e, lfs=None) for n, (s, e) in fake["files"].items()]
        return N(sha=of(revision), siblings=files)
def of(revision):
    return revision if len(revision) == 40 else fake["commit"]
def snapshot_download(repo, revision, allow_patterns, token):
    top = pathlib.Path(fake["path"]) / "models--org--name"
    snapshot = top / "snapshots" / of(revision)
    for folder in (top / "blobs", top / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    if revision == "main":
        (top / "refs" / "main").write_text(fake["commit"])
    for name in allow_patterns[: fake["stop_after"]]:
        size, etag = fake["files"][name]
        (top / "blobs" / etag).write_bytes(b"x" * size)
        if not (snapshot / name).exists():
            (snapshot / name).symlink_to("../../blobs/" + etag)
    if fake["download_error"]:
        raise OSError(28, "No space left on device")
    return str(snapshot)
"""


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.path = folder / "hf"
        self.repo = self.path / "models--org--name"
        self.calls = folder / "calls"
        (folder / "bin").mkdir()
        docker = folder / "bin" / "docker"
        docker.write_text(DOCKER.format(python=sys.executable, folder=str(folder)))
        docker.chmod(0o755)
        (folder / "image").touch()
        (folder / "client").mkdir()
        (folder / "client" / "huggingface_hub.py").write_text(CLIENT)
        (folder / "env").write_text(f"HF_TOKEN='{TOKEN}'\n")
        self.etags = {name: f"{number:040x}" for number, name in enumerate(FILES, 1)}
        self.fake: dict[str, t.Any] = {
            "version": "2.4.0",
            "commit": COMMIT,
            "error": "",
            "download_error": False,
            "stop_after": None,
            "path": str(self.path),
            "files": {name: [len(content), self.etags[name]] for name, content in FILES.items()},
        }
        monkeypatch.setenv("PATH", f"{folder}/bin", prepend=":")
        monkeypatch.setattr(download_container, "RUN", str(folder / "run"))
        # Whoever runs the tests may not see the processes of others.
        look = locks.open_files
        monkeypatch.setattr(locks, "open_files", lambda *wanted: (look(*wanted)[0], True))

    def run(self, **options: t.Any) -> dict[str, t.Any]:
        (self.folder / "fake.json").write_text(json.dumps(self.fake))
        self.calls.write_text("")
        arguments = {"model": MODEL, "path": str(self.path), "image": "vllm:1", "keep_free": 0, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            hf_download.main()
        found: dict[str, t.Any] = json.loads(self.capsys.readouterr().out)
        return found

    def download(self, **options: t.Any) -> dict[str, t.Any]:
        first = self.run(**options)
        assert first["status"] == "running", first
        return self.run(follow=first["container"], **options)

    def container(self, status: str, **labels: str) -> None:
        state = {"Status": status, "ExitCode": 1}
        entry = {"Id": "f" * 64, "Name": "x", "State": state, "Config": {"Labels": labels}}
        (self.folder / "container.json").write_text(json.dumps(entry))
