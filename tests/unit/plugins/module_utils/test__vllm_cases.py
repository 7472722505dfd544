# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that others have published, rewritten to the lines that carry them, each with the diagnosis that is right."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.diagnose import diagnose
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import Api, Observation, judge, result
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from vllm_observations import container

CASES = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm" / "cases"
EXPECTED: dict[str, dict[str, t.Any]] = yaml.safe_load((CASES / "expected.yml").read_text())
# what a log collector or another way to start vLLM puts in front of each line
PREFIXES = {
    "docker logs -t": "2026-11-28T06:12:05.123456789Z ",
    "docker compose": "vllm-1  | ",
    "journal": "Nov 28 06:12:05 spark01 docker[812]: ",
}


def text(name: str) -> str:
    return (CASES / f"{name}.log").read_text()


def test_every_case_is_expected() -> None:
    assert {path.stem for path in CASES.glob("*.log")} == set(EXPECTED)


def said(name: str, prefix: str = "") -> dict[str, t.Any]:
    want = EXPECTED[name]
    log = "".join(f"{prefix}{line}\n" for line in text(name).splitlines())
    if "health" in want:
        seen = Observation(now=1.0, container=container(), api=Api(health=want["health"]), log=parse(log))
        return result(seen)
    options = {name: want[name] for name in ("source", "exit_code", "running") if name in want}
    return diagnose(log, **options)


@pytest.mark.parametrize("name", EXPECTED)
def test_case(name: str) -> None:
    is_as_expected(name, said(name))


@pytest.mark.in_turn(3)  # the same cases again
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", EXPECTED)
def test_case_behind_a_prefix(name: str, prefix: str) -> None:
    is_as_expected(name, said(name, PREFIXES[prefix]))


def is_as_expected(name: str, found: dict[str, t.Any]) -> None:
    want = EXPECTED[name]
    if "verdict" in want:  # a server that has survived all of it
        assert (found["verdict"], found["cause"], found["hint"]) == (want["verdict"], None, None)
        return
    if "hint" in want:
        assert (found["verdict"], found["cause"], found["hint"]["id"]) == ("loading", None, want["hint"])
        cause = found["hint"]
    else:
        assert found["verdict"] == "failed"
        cause = found["cause"]
        assert cause["id"] == want["cause"]
    assert cause["family"] == want["family"]
    assert want.get("evidence", "") in cause["evidence"]
    assert want.get("meaning", "") in cause["meaning"]
    assert want.get("phase", found["phase"]) == found["phase"]
    for piece in want.get("remedy", []):
        assert piece in cause["remedy"]
    for piece in want.get("never", []):
        assert piece not in cause["remedy"]
    assert "?" not in cause["meaning"] + cause["remedy"]


# a process that a signal ends writes no cause
@pytest.mark.parametrize("name", [name for name, want in EXPECTED.items() if want.get("exit_code", 128) < 128])
def test_the_log_alone_tells_the_same(name: str) -> None:
    assert diagnose(text(name))["cause"] == said(name)["cause"]


OTHER_WORKER = (
    "(Worker_TP1 pid=991) INFO 07-10 12:16:31 [parallel_state.py:1735] rank 1 is assigned as DP rank 0\n"
    "(Worker_TP1 pid=991) WARNING 07-10 12:16:31 [utils.py:10] Using default value\n"
    "[Gloo] Rank 0 is connected to 0 peer ranks. Expected number of connected peer ranks is : 0\n"
)
PROCESS = re.compile(r"\(((?:EngineCore|Worker|VllmWorker)[^)]*?)pid=(\d+)\)")


def other_numbers(log: str) -> str:
    """Another installation, at another time."""
    log = PROCESS.sub(lambda found: f"({found[1]}pid={int(found[2]) + 4711})", log)
    log = re.sub(r", line (\d+)", lambda found: f", line {int(found[1]) + 37}", log)
    log = re.sub(r"\[([\w.]+\.py):\d+\]", r"[v1/engine/\1:7]", log)
    return log.replace("/usr/local/lib/python3.12/dist-packages/", "/opt/venv/lib/python3.13/site-packages/")


def other_workers(log: str) -> str:
    """Another process writes in between, and a second worker fails alike, line by line."""
    lines = []
    for number, line in enumerate(log.splitlines(keepends=True)):
        lines.append(line)
        process = PROCESS.match(line)
        if process and "encountered a fatal" not in line:
            lines.append(f"({process[1].strip()}_B pid={int(process[2]) + 1})" + line[process.end() :])
            lines.append(OTHER_WORKER if number % 5 == 0 else "")
    return "".join(lines)


def other_modules(log: str) -> str:
    """The classes of the exceptions have moved."""
    return re.sub(r"(?m)((?:^|\] |\) ))(?:[a-z_]\w*\.)+([A-Z]\w*(?:Error|Exception)\b)", r"\1\2", log)


def noisy(log: str) -> str:
    """NCCL and PyTorch write where they like, and Python cleans up at the end."""
    noise = (
        "spark01:151:290 [0] NCCL INFO Channel 00/02 : 0 1\n"
        "[rank0]:[W723 11:20:31.51 ProcessGroupNCCL.cpp:1524] Warning: WARNING: destroy_process_group() was not\n"
    )
    lines = [line + (noise if number % 4 == 1 else "") for number, line in enumerate(log.splitlines(keepends=True))]
    return "".join(lines) + "UserWarning: There appear to be 1 leaked shared_memory objects to clean up at shutdown\n"


def dressed(log: str) -> str:
    """Colors, and the line ends of a terminal."""
    log = re.sub(r"(?m)^(\([^)]*pid=\d+[^)]*\))", "\x1b[1;36m\\1\x1b[0;0m", log)
    return log.replace("\n", "  \r\n")


def collected(log: str) -> str:
    """A prefix that no program is known for."""
    return "".join(
        f"<14> 2026/11/28-06:12:{number % 60:02} gpu7 =>\t{line}" for number, line in enumerate(log.splitlines(True))
    )


def relayed(log: str) -> str:
    """A program that runs vLLM logs what it prints."""
    return "".join(f"2026-11-28 06:12:05,690 - __main__ - INFO - {line}" for line in log.splitlines(keepends=True))


def told_twice(log: str) -> str:
    """Ray says of a line that other workers wrote it too."""
    return re.sub(r"(?m)^(\((?:EngineCore|Worker)[^\n]*Error: [^\n]*)$", r"\1 [repeated 3x across cluster]", log)


def doubled(log: str) -> str:
    """A collector takes each line from two places."""
    return "".join(line + line for line in log.splitlines(keepends=True))


SURVIVED = (
    "Exception in thread Thread-1 (_report_usage_worker):\nTraceback (most recent call last):\n"
    '  File "/usr/local/lib/python3.12/dist-packages/vllm/usage/usage_lib.py", line 245, in _report_usage_once\n'
    "    os.makedirs(os.path.dirname(_USAGE_STATS_JSON_PATH), exist_ok=True)\n"
    "PermissionError: [Errno 13] Permission denied: '/.config/vllm'\n"
)


def after_what_was_survived(log: str) -> str:
    """A thread fails, which the process goes on without."""
    if "Application startup complete" in log and "API server version" not in log:
        return log
    lines = log.splitlines(keepends=True)
    banner = next((number for number, line in enumerate(lines, 1) if "API server version" in line), 0)
    return "".join([*lines[:banner], SURVIVED, *lines[banner:]])


@pytest.mark.in_turn(4)  # ten changes of each
@pytest.mark.parametrize(
    "name", [name for name, want in EXPECTED.items() if want.keys().isdisjoint({"source", "health"})]
)
def test_what_does_not_matter_changes_nothing(name: str) -> None:
    options = {key: EXPECTED[name][key] for key in ("exit_code", "running") if key in EXPECTED[name]}
    log = text(name)
    before = diagnose(log, **options)
    many = PROCESS.search(log) is not None and log.count("pid=") > 3
    for change in (
        other_numbers,
        other_workers,
        other_modules,
        noisy,
        dressed,
        told_twice,
        doubled,
        after_what_was_survived,
        *([collected, relayed] if many else []),
    ):
        after = diagnose(change(log), **options)
        for key in ("cause", "hint"):
            ids = [found[key]["id"] if found[key] else None for found in (before, after)]
            assert ids[0] == ids[1], change.__name__
        assert before["verdict"] == after["verdict"], change.__name__


@pytest.mark.parametrize("name", [name for name, want in EXPECTED.items() if want.get("verdict") == "ready"])
def test_no_prefix_of_a_server_that_serves_is_failed(name: str) -> None:
    lines = text(name).splitlines(keepends=True)
    for count in range(len(lines) + 1):
        found = diagnose("".join(lines[:count]), running=True)
        assert found["verdict"] in ("loading", "ready"), lines[count - 1]


@pytest.mark.parametrize("name", [name for name, want in EXPECTED.items() if want.get("exit_code", 128) < 128])
@pytest.mark.parametrize("lost", [0, 2])
def test_the_beginning_may_be_cut_off(name: str, lost: int) -> None:
    """docker logs --tail, even in the middle of the first traceback, as long as what tells the cause is there."""
    lines = text(name).splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if "Traceback" in line), 0)
    log = "".join(lines[first + lost :])
    before = diagnose(text(name), exit_code=EXPECTED[name]["exit_code"])["cause"]
    told = before["evidence"].strip("…")
    if told not in " ".join(log.split()) or "Traceback" not in log:
        return  # it is among what was cut off
    after = diagnose(log, exit_code=EXPECTED[name]["exit_code"])["cause"]
    assert after["id"] == before["id"]


def test_a_hint_becomes_the_cause_when_nothing_moves() -> None:
    found = diagnose(text("n15-ray-placement-group"), running=True, idle_seconds=901)
    assert (found["verdict"], found["cause"]["id"]) == ("stuck", "ray_placement")


def test_a_silent_end_is_told_by_the_last_hint() -> None:
    log = (
        "(EngineCore pid=118) INFO 09-14 08:10:02 [gpu_model_runner.py:4120] Starting to load model org/model...\n"
        "[rank1]:[W810 23:02:45.473132713 TCPStore.cpp:106] [c10d] sendBytes failed on SocketImpl(fd=101,"
        " addr=[spark2]:50390, remote=[spark1]:40027): Broken pipe\n"
        "frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x9d (0x7e in /usr/lib/libc10.so)\n"
    )
    assert (diagnose(log)["verdict"], diagnose(log)["hint"]["id"]) == ("loading", "group_gone")
    cause = diagnose(log, exit_code=1)["cause"]
    assert (cause["id"], cause["family"], cause["certain"]) == ("group_gone", "network", False)
    assert "master_addr" in cause["remedy"]
    assert diagnose(log, exit_code=137)["cause"]["id"] == "killed"
    assert diagnose(log.replace("sendBytes failed", "sendBytes"), exit_code=1)["cause"]["id"] == "exited"


def test_the_cause_of_the_attempt_before() -> None:
    for name in ("p1-request-error-then-stop", "p2-lora-request-error-then-stop"):
        seen = Observation(now=1.0, container=container(), api=Api(error="reset"), previous=parse(text(name)))
        assert result(seen)["previous_cause"]["id"] == "stopped"


def test_a_server_with_a_request_error_is_not_failed() -> None:
    log = parse(text("p4-request-error-health-500"))
    assert (log.ready, log.failed, log.died, log.cause) == (True, False, False, None)
    assert judge(Observation(now=1.0, container=container(), api=Api(error="refused"), log=log)).verdict == "degraded"
