# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with a program that stands in for Docker and runs the real script, with a stand-in for huggingface_hub."""

from __future__ import annotations

import json
import os
import tempfile
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import model_files
from ansible_collections.dgxspark.vllm.plugins.modules import hf_download
from download_host import COMMIT, TOKEN, Host

from support import documented
from support.trees import deep_tree

pytestmark = pytest.mark.usefixtures("warm_python")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_a_download_from_the_first_look_to_the_last(host: Host) -> None:
    first = host.run(env_file=str(host.folder / "env"))
    assert (first["status"], first["changed"], first["joined"]) == ("running", True, False)
    assert [file["name"] for file in first["files"]] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert first["expected_bytes"] == 5004
    last = host.run(follow=first["container"])
    assert (last["status"], last["changed"], last["client"], last["bytes"]) == ("complete", True, "2.4.0", 5004)
    assert last["snapshot"] == str(host.repo / "snapshots" / COMMIT)
    assert not (host.repo / "snapshots" / COMMIT / "README.md").exists()
    assert not (host.folder / "container.json").exists()
    assert list((host.folder / "run").iterdir()) == []


def test_complete_is_one_look_and_no_container(host: Host) -> None:
    host.download()
    again = host.run()
    assert (again["status"], again["changed"], again["files"], again["bytes"]) == ("complete", False, [], 5004)
    assert [call.split()[0] for call in host.calls.read_text().splitlines()] == ["inspect"]


def test_a_model_in_the_folder_hub_is_continued_there(host: Host) -> None:
    """The container gets the whole cache: a link that somebody makes of hub leads nowhere but into the container."""
    host.fake.update(path=str(host.path / "hub"), stop_after=1)
    (host.path / "hub" / host.repo.name).mkdir(parents=True)
    host.download()
    host.fake["stop_after"] = None
    first = host.run()
    assert f"--volume {host.path}:/root/.cache/huggingface " in host.calls.read_text()
    last = host.run(follow=first["container"])
    assert last["snapshot"] == str(host.path / "hub" / host.repo.name / "snapshots" / COMMIT)
    assert not host.repo.exists()
    seen = json.loads((host.folder / "seen.json").read_text())["environment"]
    assert seen["HF_HUB_CACHE"] == "/root/.cache/huggingface/hub"


OTHER = "d" * 40


@pytest.mark.parametrize("has_another", [False, True])
def test_the_commit_of_another_host_is_what_the_branch_becomes(host: Host, has_another: bool) -> None:
    host.fake["commit"] = OTHER  # the branch has moved
    if has_another:
        assert host.download()["commit"] == OTHER
    assert host.run(commit=COMMIT, _ansible_check_mode=True)["changed"] is True
    last = host.download(commit=COMMIT)
    assert (last["status"], last["changed"], last["commit"]) == ("complete", True, COMMIT)
    assert (host.repo / "refs" / "main").read_text() == COMMIT  # vLLM asks for main
    again = host.run(commit=COMMIT)
    assert (again["status"], again["changed"], again["commit"]) == ("complete", False, COMMIT)


def test_a_branch_that_names_another_commit_is_corrected_without_a_download(host: Host) -> None:
    host.download()
    host.fake["commit"] = OTHER
    (host.repo / "snapshots" / OTHER).mkdir()
    (host.repo / "refs" / "main").write_text(OTHER)
    for check, changed in ((True, True), (False, True), (False, False)):
        found = host.run(commit=COMMIT, _ansible_check_mode=check)
        assert (found["status"], found["changed"]) == ("complete", changed)
    assert (host.repo / "refs" / "main").read_text() == COMMIT


def test_a_revision_that_is_a_commit_is_what_it_is(host: Host) -> None:
    assert host.download(revision=OTHER, commit=COMMIT)["commit"] == OTHER
    assert "use 40 hexadecimal digits" in host.run(commit="main")["msg"]


def test_the_token_reaches_the_client_and_nothing_else(host: Host) -> None:
    host.run(env_file=str(host.folder / "env"), environment={"HTTPS_PROXY": "http://user:pw@proxy", "N": 1})
    seen = json.loads((host.folder / "seen.json").read_text())
    assert seen["token"] == TOKEN
    assert seen["environment"]["HTTPS_PROXY"] == "http://user:pw@proxy"
    assert seen["environment"]["HF_HUB_CACHE"] == "/root/.cache/huggingface"
    assert TOKEN not in host.calls.read_text()
    assert "user:pw" not in host.calls.read_text()
    for file in (host.folder / "run").rglob("*"):
        if file.is_file():
            assert TOKEN not in file.read_text()
            assert file.stat().st_mode & 0o077 == 0


def test_the_containers_have_no_rights_that_they_do_not_need(host: Host) -> None:
    """An image decides what runs in them, with the network and the cache at hand."""
    host.run()
    runs = [line.split() for line in host.calls.read_text().splitlines() if line.startswith("run ")]
    assert len(runs) == 2
    for words in runs:
        assert {"--cap-drop=ALL", "--security-opt=no-new-privileges", "--oom-score-adj=1000"} <= set(words)
        assert [word for word in words if word.startswith("--cap-add")] == [
            f"--cap-add={name}" for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER")
        ]
        assert any(word.startswith("--pids-limit=") for word in words)
        assert ("--memory=3g" in words) is ("--rm" in words)
        assert any(word.startswith("--log-opt=max-size=") for word in words) is ("--detach" in words)


def test_offline_starts_nothing(host: Host) -> None:
    found = host.run(offline=True, image=None)
    assert (found["status"], found["cause"]["id"], found["missing"]) == (
        "failed",
        "hf_offline_missing",
        ["the snapshot"],
    )
    assert " run " not in f" {host.calls.read_text()}"
    host.download()
    assert host.run(offline=True, image=None)["status"] == "complete"


def test_check_mode_lists_and_changes_nothing(host: Host) -> None:
    found = host.run(_ansible_check_mode=True, _ansible_diff=True)
    assert (found["status"], found["changed"]) == ("missing", True)
    assert found["diff"] == {"before": "", "after": "config.json 2\nmodel.safetensors 5000\ntokenizer.json 2\n"}
    assert not host.path.exists()
    assert "--detach" not in host.calls.read_text()


def test_check_mode_without_the_image_asks_nobody(host: Host) -> None:
    (host.folder / "image").unlink()
    found = host.run(_ansible_check_mode=True)
    assert (found["status"], found["changed"], found["files"], found["missing"]) == (
        "missing",
        True,
        [],
        ["the snapshot"],
    )
    big = host.run(_ansible_check_mode=True, expected_bytes=10**18)
    assert (big["status"], big["cause"]["id"]) == ("failed", "no_space")


def test_check_mode_before_the_token_is_there(host: Host) -> None:
    host.fake["error"] = "Access to model org/name is restricted. You must have access to it"
    found = host.run(_ansible_check_mode=True, env_file=str(host.folder / "none"))
    assert (found["status"], found["changed"]) == ("missing", True)
    found = host.run(_ansible_check_mode=True, env_file=str(host.folder / "env"))
    assert (found["status"], found["cause"]["id"]) == ("failed", "hf_gated_noauth")


def test_no_space_before_the_first_byte(host: Host) -> None:
    found = host.run(keep_free=10**18)
    assert (found["status"], found["cause"]["id"]) == ("failed", "no_space")
    assert "--detach" not in host.calls.read_text()


def test_an_image_that_is_not_to_be_had(host: Host) -> None:
    (host.folder / "image").unlink()
    assert host.run()["cause"]["id"] == "docker_image"


def test_a_host_without_docker(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.get_bin_path", lambda *_args, **_more: None)
    assert host.run()["cause"]["id"] == "docker_missing"
    assert host.run(_ansible_check_mode=True)["status"] == "missing"


def test_a_repository_without_weights(host: Host) -> None:
    del host.fake["files"]["model.safetensors"]
    assert host.run()["cause"]["id"] == "no_weights"


@pytest.mark.parametrize("status", ["running", "created"])
def test_a_download_that_is_there_is_joined(host: Host, status: str) -> None:
    model_files.record(str(host.repo), COMMIT, {"model.safetensors": model_files.File(5000, "a" * 40)})
    host.container(status, **{"dgxspark.vllm.download.commit": COMMIT})
    found = host.run()
    assert (found["status"], found["joined"], found["changed"]) == ("running", True, False)
    assert (found["bytes"], found["expected_bytes"]) == (0, 5000)


def test_the_remains_of_an_earlier_one_go(host: Host) -> None:
    job = host.folder / "run" / "job"
    job.mkdir(parents=True)
    host.container("exited", **{"dgxspark.vllm.download.job": str(job)})
    assert host.download()["status"] == "complete"
    assert not job.exists()


def test_a_deep_tree_in_the_folder_of_the_job_goes(host: Host) -> None:
    """Its container may write there."""
    job = host.folder / "run" / "job"
    host.container("exited", **{"dgxspark.vllm.download.job": str(job)})
    with deep_tree(job):
        assert host.download()["status"] == "complete"
        assert not job.exists()


def test_a_label_leads_to_no_other_folder(host: Host) -> None:
    host.container("exited", **{"dgxspark.vllm.download.job": f"{host.folder}/run/../client"})
    assert host.download()["status"] == "complete"
    assert (host.folder / "client").exists()


def test_a_failure_in_the_middle(host: Host) -> None:
    host.fake["download_error"] = True
    found = host.download()
    assert (found["status"], found["changed"], found["cause"]["id"]) == ("failed", False, "disk_full")
    assert not (host.folder / "container.json").exists()


def test_a_client_that_ends_too_early(host: Host) -> None:
    host.fake["stop_after"] = 1
    found = host.download()
    assert (found["cause"]["id"], found["missing"]) == ("incomplete", ["model.safetensors", "tokenizer.json"])


def test_a_kill(host: Host) -> None:
    first = host.run()
    (host.folder / "log").write_text("")
    host.container("exited")
    box = json.loads((host.folder / "container.json").read_text())
    box["State"]["ExitCode"] = 137
    (host.folder / "container.json").write_text(json.dumps(box))
    assert host.run(follow=first["container"])["cause"]["id"] == "client_killed"


def test_a_container_that_went_away(host: Host) -> None:
    assert host.run(follow="f" * 12)["status"] == "gone"


@pytest.mark.parametrize(
    "refusal",
    [
        "Error response from daemon: No such container: 0000",
        "Error response from daemon: can not get logs from container which is dead or marked for removal",
    ],
)
def test_another_task_sees_the_end_first(host: Host, refusal: str) -> None:
    first = host.run()
    (host.folder / "refusal").write_text(refusal)
    found = host.run(follow=first["container"])
    assert (found["status"], found["cause"]) == ("gone", None)


def test_a_log_that_docker_does_not_give(host: Host) -> None:
    first = host.run()
    (host.folder / "refusal").write_text("Error response from daemon: open log: input/output error")
    found = host.run(follow=first["container"])
    assert (found["status"], "input/output error" in found["cause"]["evidence"]) == ("failed", True)
    assert (host.folder / "container.json").exists()


def test_a_crash_that_only_stderr_tells(host: Host) -> None:
    first = host.run()
    (host.folder / "log").write_text("")
    lines = ["Traceback (most recent call last):", '  File "/job/client.py"', f"MemoryError: {TOKEN}"]
    (host.folder / "errors").write_text("\n".join(lines))
    host.container("exited")
    found = host.run(follow=first["container"], env_file=str(host.folder / "env"))
    assert (found["cause"]["id"], found["cause"]["evidence"]) == ("client_failed", "MemoryError: hf_***")


def test_cancel(host: Host) -> None:
    host.container("running")
    assert host.run(follow="f" * 12, cancel=True)["status"] == "gone"
    assert not (host.folder / "container.json").exists()


def test_a_hub_that_names_no_commit(host: Host) -> None:
    host.fake["commit"] = "../../x"
    assert host.run()["cause"]["id"] == "client_failed"


def test_a_folder_that_may_not_be_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: t.Any, **_more: t.Any) -> None:
        raise PermissionError(13, "Permission denied", "/run/x")

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert host.run()["msg"] == "/run/x: Permission denied. It needs root: become: true"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "/"}, "path: / is not allowed"),
        ({"model": "../x"}, "model: '../x' is not a Hugging Face id"),
        ({"revision": "../x"}, "revision: '../x' is not allowed"),
        ({"image": None}, "image: is not set"),
        ({"image": ""}, "image: is not set"),
    ],
)
def test_bad_options(host: Host, options: dict[str, t.Any], words: str) -> None:
    found = host.run(**options)
    assert found["failed"]
    assert words in found["msg"]
    assert host.calls.read_text() == ""


def test_documentation_and_spec_say_the_same() -> None:
    described = documented.options(hf_download)
    spec = hf_download.argument_spec()
    assert set(described) == set(spec)
    for name, option in spec.items():
        assert described[name]["type"] == option["type"]
        assert described[name].get("default") == option.get("default")


def test_the_result_is_documented(host: Host) -> None:
    described = set(yaml.safe_load(hf_download.RETURN))
    assert set(host.run(_ansible_check_mode=True)) - {"changed", "invocation", "warnings"} <= described
