# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with a script in Docker's place."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import services
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_log_lines_info

KEY, TOKEN, RELEASE = "sk-very-secret-0001", "hf_" + "a" * 34, "0123456789ab"
DOCKER = r"""#!/bin/sh
echo "$@" >>{folder}/calls
case $1 in
  ps) printf 'foreign\nours\n' ;;
  inspect) [ "$3" = ours ] && service=vllm || service=vllm-other; sed "s/SERVICE/$service/" {folder}/inspect.json ;;
  logs) echo "2026-11-29T05:01:02.1Z key {key} token {token}"; echo "2026-11-29T05:01:03.1Z ERROR one" >&2 ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service whose newest container has the labels of a service that is not on the host."""
    docker = tmp_path / "docker"
    docker.write_text(DOCKER.format(folder=tmp_path, key=KEY, token=TOKEN))
    docker.chmod(0o755)
    labels = {services.SERVICE_LABEL: "SERVICE", services.RELEASE_LABEL: RELEASE}
    mounts = [{"Type": "bind", "Source": f"{tmp_path}/home/cache"}]
    container = {"Id": "1", "Name": "/vllm-tiny", "State": {"Status": "running"}, "Mounts": mounts}
    shown = [{**container, "Config": {"Labels": labels}}]
    (tmp_path / "inspect.json").write_text(json.dumps(shown))
    release = tmp_path / "home" / "releases" / RELEASE
    release.mkdir(parents=True)
    (release / ".env").write_text(f"VLLM_API_KEY='{KEY}'\n")
    (tmp_path / "home" / "current").symlink_to(f"releases/{RELEASE}")
    unit = f"{services.WRITTEN}.\n[Service]\nWorkingDirectory={tmp_path}/home/current\n"
    (tmp_path / "vllm.service").write_text(unit)
    monkeypatch.setattr(services, "UNITS", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], **options: t.Any) -> dict[str, t.Any]:
    with patch_module_args({"service": "vllm", **options}), pytest.raises(SystemExit):
        vllm_log_lines_info.main()
    result: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return result


def test_the_newest_container_of_the_service_without_its_secrets(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(capsys, since="2h")
    assert result["container"] == "vllm-tiny"
    assert [line["text"] for line in result["lines"]] == ["key *** token hf_***", "ERROR one"]
    assert "logs --timestamps --since=2h ours" in (folder / "calls").read_text().splitlines()
    assert KEY not in json.dumps(result) and TOKEN not in json.dumps(result)


def test_a_pattern(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [line["text"] for line in run(capsys, pattern="ERROR|CRITICAL")["lines"]] == ["ERROR one"]


def test_a_service_without_a_container(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "vllm.service").unlink()
    result = run(capsys)
    assert (result["container"], result["lines"]) == (None, [])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"since": "1h; reboot"}, "since: '1h; reboot' is not allowed"),
        ({"lines": 0}, "lines: 0 is not allowed"),
        ({"pattern": "("}, "pattern: '(' is no regular expression"),
    ],
)
def test_bad_options(folder: Path, capsys: pytest.CaptureFixture[str], option: dict[str, t.Any], words: str) -> None:
    result = run(capsys, **option)
    assert result["failed"] and words in result["msg"]
    assert not (folder / "calls").exists()


def test_a_docker_that_does_not_answer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "docker").write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    result = run(capsys)
    assert result["failed"] and "Docker does not answer: Cannot connect" in result["msg"]
