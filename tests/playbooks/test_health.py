# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/health.yml on hosts that are each ill in their own way: none of them hides another."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from role_on_standins import R1, R2, Fleet, health, host_info

from support.playbook import THIS_MACHINE, UNREACHABLE, AnsiblePlaybook, Run

HOSTS: dict[str, dict[str, t.Any]] = {
    "dead": UNREACHABLE,
    "empty": {"vllm_container_name": "no-such-container-anywhere"},
    "mistyped": {"vllm_model": "qwen3-9b"},
    "no-number": {"vllm_port": "abc"},
    "no-python": {"ansible_python_interpreter": "/usr/bin/nopython"},
}


def play(ansible_playbook: AnsiblePlaybook, folder: Path, hosts: t.Mapping[str, dict[str, t.Any]], *flags: str) -> Run:
    inventory = folder / "hosts.yml"
    common = {
        **THIS_MACHINE,
        "ansible_become": False,
        "vllm_health_file": str(folder / "health.json"),
    }
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": dict(hosts), "vars": common}}), encoding="utf-8")
    return ansible_playbook("playbooks/health.yml", *flags, inventory=inventory)


def rows(output: str) -> list[list[str]]:
    """Host and verdict of each line of the table, which must be there exactly once."""
    lines = output.splitlines()
    (begin,) = (number for number, line in enumerate(lines) if line.split()[:2] == ["host", "verdict"])
    end = lines.index("", begin)
    return [line.split()[:2] for line in lines[begin + 1 : end]]


@pytest.fixture(scope="module", name="everybody")
def _everybody(
    tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook
) -> tuple[Run, dict[str, t.Any]]:
    folder = tmp_path_factory.mktemp("everybody")
    run = play(ansible_playbook, folder, HOSTS)
    return run, json.loads((folder / "health.json").read_text())


def test_every_host_is_in_the_table(everybody: tuple[Run, dict[str, t.Any]]) -> None:
    run, report = everybody
    found = dict(rows(run.output))
    assert list(found) == list(HOSTS)
    # without Docker, or without the right to ask it, the service is not there either, in other words
    assert found.pop("empty") in ("absent", "failed")
    assert found == {"dead": "unreachable", "mistyped": "unknown", "no-number": "unknown", "no-python": "unknown"}
    assert report["unhealthy"] == list(HOSTS)


@pytest.mark.parametrize(
    ("host", "seen"),
    [
        ("dead", ("Connection refused", "could not be sent")),  # whether ssh has ended when Ansible writes to it
        ("mistyped", ('vllm_model: "qwen3-9b" is not in the catalog; did you mean qwen3-8b-fp8?',)),
        ("no-number", ('vllm_port: "abc" is not allowed; use a whole number',)),
        ("no-python", ("/usr/bin/nopython",)),
    ],
)
def test_each_says_what_is_wrong(host: str, seen: tuple[str, ...], everybody: tuple[Run, dict[str, t.Any]]) -> None:
    run, report = everybody
    (entry,) = (entry for entry in report["hosts"] if entry["host"] == host)
    assert any(text in entry["cause"]["evidence"] for text in seen)
    assert f"\n{host} | {entry['summary']}\n    remedy: {entry['cause']['remedy']}\n" in run.output


def test_each_fails_with_one_short_line(everybody: tuple[Run, dict[str, t.Any]]) -> None:
    run, report = everybody
    assert run.code == 4  # one is unreachable
    after = run.output.partition("| Fail unless it is ready")[2]
    for entry in report["hosts"]:
        line = entry["summary"]
        assert len(line) < 120
        outcome = "UNREACHABLE" if entry["host"] == "dead" else "FAILED"
        result = after.partition(f"fatal: [{entry['host']}]: {outcome}!")[2].partition("fatal:")[0].partition("PLAY")[0]
        assert line in " ".join(result.split())
        assert "metrics" not in result


def test_without_a_host_that_is_unreachable_the_code_is_another_one(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    assert play(ansible_playbook, tmp_path, {"mistyped": HOSTS["mistyped"]}).code == 2


def test_what_is_known_of_a_host_that_does_not_serve(everybody: tuple[Run, dict[str, t.Any]]) -> None:
    """Its hardware was read, and what it should serve is known."""
    (entry,) = (entry for entry in everybody[1]["hosts"] if entry["host"] == "empty")
    assert entry["memory_available_bytes"] > 0
    assert (entry["model"], entry["wanted_model"]) == (None, "Qwen/Qwen3-8B-FP8")


def test_few_tasks_judge_a_host(everybody: tuple[Run, dict[str, t.Any]]) -> None:
    """Each costs a process on the controller, one that is skipped too."""
    run, _report = everybody
    assert run.count("empty", "ok") + run.count("empty", "skipped") <= 7, run.output


def test_one_at_a_time_and_the_first_one_dead(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, HOSTS, "--forks", "1", "-l", "dead,mistyped", "--check")
    assert (run.code, rows(run.output)) == (4, [["dead", "unreachable"], ["mistyped", "unknown"]])
    assert not (tmp_path / "health.json").exists()  # check mode writes nothing


def test_sixteen_dead_hosts(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    names = [f"spark{number:02}" for number in range(1, 17)]
    run = play(
        ansible_playbook,
        tmp_path,
        {name: {**UNREACHABLE, "ansible_port": 9 + number} for number, name in enumerate(names)},
    )
    assert run.code == 4
    assert rows(run.output) == [[name, "unreachable"] for name in names]


QUERY = "health_query=[?verdict!='ready'].{host: host, cause: cause.id}"


def test_a_query_from_the_command_line(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, {name: HOSTS[name] for name in ("dead", "mistyped")}, "-e", QUERY)
    assert run.code == 4
    start = run.output.index("\n[\n") + 1
    selected = json.loads(run.output[start : run.output.index("\n]\n", start) + 2])
    assert [(host["host"], host["cause"]) for host in selected] == [
        ("dead", "unreachable"),
        ("mistyped", "check_failed"),
    ]
    assert json.loads((tmp_path / "health.json").read_text()) == selected


def test_a_query_that_selects_nothing_says_so_beside_the_json(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    run = play(ansible_playbook, tmp_path, {"dead": HOSTS["dead"]}, "-e", "health_query=host")
    assert run.code == 4
    assert "\nnull\n" in run.output
    assert run.output.count("health_query: 'host' selects nothing, because it is applied to the list of hosts") == 1
    assert "did you mean '[].host'?" in run.output
    assert json.loads((tmp_path / "health.json").read_text()) is None


def test_a_query_that_is_wrong_ends_before_a_host_is_asked(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, HOSTS, "-e", "health_query=[?verdict!='ready'].{host: host")
    assert run.code == 2
    said = "health_query: \"[?verdict!='ready'].{host: host\" is not a JMESPath expression: "
    assert said in " ".join(run.output.split()).replace("''", "'"), run.output
    assert run.output.count("fatal: ") == 1
    assert "Read the host" not in run.output


def test_services_that_the_inventory_does_not_list(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """One machine with two names of the inventory, and a service that someone deployed with -e; another machine."""
    services = [
        {"service": name, "container": f"{name}-x", "planned_bytes": planned, "release": R1, "running": True}
        for name, planned in (("vllm", 2**35), ("vllm-b", 2**30), ("vllm-two", 2**36))
    ]
    look = host_info(R1)["spark"]
    ready = health("ready", R1, spark={**look, "services": services})
    ready["container"].update(status="running", image="nvcr.io/nvidia/vllm:25.09-py3")
    alone = {"ansible_host": "two", "answers": {"vllm_health": [{**ready, "spark": look}]}}
    inventory: dict[str, dict[str, t.Any]] = {
        "one": {"ansible_host": "one", "answers": {"vllm_health": [ready]}},
        "one-b": {"ansible_host": "one", "vllm_service_name": "vllm-b", "answers": {"vllm_health": [ready]}},
        "two": alone,
    }
    fleet = Fleet(ansible_playbook, tmp_path, {name: {**values, "wanted": R2} for name, values in inventory.items()})
    _code, output = fleet.run(
        "health.yml", extra={"__vllm_release_id": R2, "vllm_health_file": str(tmp_path / "x.json")}
    )
    assert (tmp_path / "x.json").exists(), output
    report = json.loads((tmp_path / "x.json").read_text())
    notes = [(note["id"], note["hosts"], note["meaning"]) for note in report["notes"]]
    (beside,) = (note for note in notes if note[0] == "services_beside")
    assert beside[1] == ["one", "one-b"]
    assert beside[2].startswith("vllm-two of this collection runs here, too")
    capped = {host: meaning for name, hosts, meaning in notes for host in hosts if name == "share_capped"}
    assert list(capped) == ["one", "one-b"]
    assert capped["one"].endswith("less 1.0 GiB of vllm-b, less 64.0 GiB of vllm-two)")


def test_another_context_is_another_release_and_no_fault(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """What serves was deployed with the context of its day, and serves it."""
    look = {**host_info()["spark"], "services": []}
    ready = health("ready", R1, spark=look, max_model_len=32768)
    ready["container"].update(status="running", image="nvcr.io/nvidia/vllm:25.09-py3")
    hosts = {"one": {"wanted": R2, "vllm_max_model_len": 16384, "answers": {"vllm_health": [ready]}}}
    fleet = Fleet(ansible_playbook, tmp_path, hosts)
    code, output = fleet.run(
        "health.yml", extra={"__vllm_release_id": R2, "vllm_health_file": str(tmp_path / "x.json")}
    )
    (asked,) = (options for _name, options in fleet.calls("one", "vllm_health"))
    assert "max_model_len" not in asked  # the release has it in its name
    (host,) = json.loads((tmp_path / "x.json").read_text())["hosts"]
    assert (code, host["verdict"], host["drift"]) == (0, "ready", True), output
