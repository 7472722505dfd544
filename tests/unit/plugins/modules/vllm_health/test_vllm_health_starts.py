# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that starts, failed to start, or has no container: the unit, its journal and the log say why."""

from __future__ import annotations

import datetime
import re
import subprocess
import time
import typing as t

import pytest
from health_host import FIXTURES, Host, Server, run


def test_only_the_log_of_this_start_is_read(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "startup_ok.log")
    run(host, capsys)
    assert "docker logs --since 1795424398.000000 0123456789ab\n" in host.calls.read_text()


@pytest.mark.parametrize("years", [-1, 1])
def test_a_clock_that_was_set_since_the_start(host: Host, capsys: pytest.CaptureFixture[str], years: int) -> None:
    """The clock is YEARS ahead of the one at the start, and the last line is of before."""
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=365 * years)
    process = subprocess.Popen(["sleep", "60"])
    host.port = 9  # nobody answers: it loads
    stamp = then.isoformat().replace("+00:00", "Z")
    host.container(f"{stamp} a line", StartedAt=stamp, Pid=process.pid)
    found = run(host, capsys, stall_timeout=30)
    process.kill()
    process.wait()
    assert found["verdict"] == "loading"
    assert 0 <= found["idle_seconds"] < 30
    since = float(re.findall(r"--since ([0-9.]+)", host.calls.read_text())[0])
    assert since < min(then.timestamp(), time.time())


def test_failed_start(host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "maxlen.log", Status="exited", ExitCode=1, FinishedAt="2026-11-23T09:00:09Z")
    found = run(host, capsys)
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "max_len_gt_model")
    assert "set vllm_max_model_len to 4096" in found["cause"]["remedy"]
    assert server[0].requests == []


def test_attempt_before_is_read_after_a_restart(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    host.container("", restarts=1, StartedAt=now)
    old = FIXTURES / "0.32" / "badquant.log"
    host.program(
        "docker",
        f'case "$*" in inspect*) cat "{host.folder}/inspect.json";; *--until*) cat "{old}";; esac',
    )
    found = run(host, capsys, url="http://127.0.0.1:9")
    assert (found["verdict"], found["container"]["restarts"]) == ("loading", 1)
    assert found["previous_cause"]["id"] == "unknown_quant"


def test_a_loading_server_that_says_nothing_more_is_stuck(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    line = "INFO 11-23 09:07:31 [x.py:1] Starting to load model x..."
    host.container(f"{line}\n")
    host.program(
        "docker",
        f'case "$*" in inspect*) cat "{host.folder}/inspect.json";;'
        f' *--timestamps*) echo "2026-11-23T09:07:31.000000001Z {line}";; logs*) cat "{host.folder}/log";; esac',
    )
    found = run(host, capsys, url="http://127.0.0.1:9", stall_timeout=60)
    assert (found["verdict"], found["phase"], found["cause"]["id"]) == ("stuck", "load", "stuck")
    assert found["idle_seconds"] > 60
    assert "docker logs --timestamps --since" in host.calls.read_text()


def test_absent(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.no_container()
    found = run(host, capsys)
    assert (found["verdict"], found["phase"], found["container"]) == ("absent", None, None)


def test_journal_of_the_unit_says_why_there_is_no_container(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.no_container()
    host.unit("Error response from daemon: manifest unknown", ActiveState="failed", InvocationID="abc")
    found = run(host, capsys, service="vllm")
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "docker_image")
    assert "_SYSTEMD_INVOCATION_ID=abc" in host.calls.read_text()


def test_systemd_gave_up(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "maxlen.log", Status="exited", ExitCode=1)
    lines = "vllm.service: Start request repeated too quickly.\nvllm.service: Failed with result 'exit-code'."
    host.unit(lines, ActiveState="failed", SubState="failed", NRestarts=4)
    found = run(host, capsys, service="vllm")
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "gave_up")
    assert found["cause"]["link"] == "docs/troubleshooting.md#gave_up"
    assert "than the 4096 tokens" in found["cause"]["meaning"]


def test_the_remedy_of_a_stopped_server_names_its_unit_which_a_stop_disables(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.container("", Status="exited", ExitCode=143)
    host.unit("", ActiveState="inactive", SubState="dead")
    cause = run(host, capsys, service="vllm-chat")["cause"]
    assert (cause["id"], "`systemctl enable --now vllm-chat`" in cause["remedy"]) == ("stopped", True)


def test_a_unit_that_failed_for_another_reason_did_not_give_up(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "maxlen.log", Status="exited", ExitCode=1)
    host.unit("vllm.service: Stopped.", ActiveState="failed", SubState="failed", NRestarts=1)
    assert run(host, capsys, service="vllm")["cause"]["id"] == "max_len_gt_model"


def test_the_guard_refused_the_start(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container("", Status="exited", ExitCode=137)
    line = (
        "not started: 20.0 GiB of memory are needed, 4.0 GiB are available after 2 s;"
        " most is held by sh (pid 7) 3.0 GiB"
    )
    host.unit(line, ActiveState="activating", SubState="auto-restart", InvocationID="ab12")
    found = run(host, capsys, service="vllm")
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "start_memory")
    assert "most is held by sh (pid 7) 3.0 GiB" in found["cause"]["meaning"]
    assert "_SYSTEMD_INVOCATION_ID=ab12" in host.calls.read_text()


OLD_START = {"Status": "exited", "StartedAt": "2026-11-23T08:00:00Z", "FinishedAt": "2026-11-23T09:00:00Z"}


@pytest.mark.parametrize(
    ("values", "journal", "hint"),
    [
        (
            {"ActiveState": "activating", "SubState": "start-pre", "InvocationID": "ab12"},
            "20.0 GiB of memory wanted, 4.0 GiB available: waiting",
            "the start waits for 20.0 GiB of memory, of which 4.0 GiB are available",
        ),
        ({"ActiveState": "activating", "SubState": "start-pre", "InvocationID": "ab12"}, "", None),
        # without its number the journal is that of earlier starts too
        ({"ActiveState": "activating", "SubState": "start-pre"}, "Loading weights took 9 seconds", None),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "InvocationID": "ab12"},
            "not started: 20.0 GiB of memory are needed, 4.0 GiB are available after 2 s; most is held by x (pid 7)",
            None,
        ),
        # Docker could not start the container
        (
            {
                "ActiveState": "failed",
                "SubState": "failed",
                "InvocationID": "ab12",
                "ExecMainStartTimestampMonotonic": int(time.monotonic() * 1e6),
            },
            "listen tcp4 127.0.0.1:8000: bind: address already in use",
            None,
        ),
    ],
)
def test_the_log_of_what_served_before_is_no_progress_of_a_start(
    host: Host, capsys: pytest.CaptureFixture[str], values: dict[str, t.Any], journal: str, hint: str | None
) -> None:
    host.container(FIXTURES / "0.32" / "startup_ok.log", **OLD_START)
    host.unit(journal, **values)
    found = run(host, capsys, service="vllm")
    assert found["phase"] == "container"
    assert (found["kv_cache_tokens"], found["progress"]["shards_total"]) == (None, None)
    assert (found["hint"] or {}).get("meaning") == hint
    assert found["last_line"] == (journal if "InvocationID" in values else "")


def test_the_log_of_a_start_that_ended_is_still_read(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "startup_ok.log", **OLD_START)
    host.unit(ActiveState="inactive", SubState="dead", InvocationID="ab12")
    assert run(host, capsys, service="vllm")["kv_cache_tokens"] is not None
