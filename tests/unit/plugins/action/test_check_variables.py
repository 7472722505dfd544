# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action in a real play: what the operator sees, with what Ansible really hands over."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.hf_cache import unknown_source

from support.paths import BIN, NO_SETTINGS
from support.playbook import AnsiblePlaybook

TOKEN = "hf_" + "z9Y8" * 8
DEFAULTS = "{role: vllm}"
ALL_ROLES = ["vllm", "hf_cache", "spark_host", "container_runtime"]
TOO_LARGE = {"vllm_model": "llama33-70b-fp8", "vllm_max_model_len": 131072}
# of the switch spark_host_allow_other_hardware, and whether more memory than a Spark has is allowed
SWITCHES: list[tuple[t.Any, bool]] = [(False, False), ("{{ not false }}", True), ("{{ no_such }}", False)]
BAD_PATH: list[str | list[str]] = ["vllm", "hf_cache", ["hf_cache", "vllm"]]
OLD_NAMES: list[tuple[str, str, str | list[str]]] = [
    ("vllm_hf_cache", "hf_cache_path", "vllm"),
    ("vllm_hf_cache", "hf_cache_path", "hf_cache"),  # it cleans and fills that folder
    ("vllm_roll_back_to", "vllm_rollback_release", ["hf_cache", "vllm"]),
]
ONE_LINE: list[tuple[dict[str, t.Any], str]] = [
    ({"hf_cache_path": "{{ no_such }}"}, "hf_cache_path: cannot be read; 'no_such' is undefined"),
    ({"vllm_hf_token": "{{ vault_token }}"}, "vllm_hf_token: cannot be read; 'vault_token' is undefined"),
    (
        {"vllm_hf_token": f'{{{{ "{TOKEN}" | no_such_filter }}}}'},
        "vllm_hf_token: cannot be read; its template or vault gives ",
    ),
    ({"vllm_home": "{{ omit }}"}, "vllm_home: cannot be read; "),
    ({"vllm_modle": "x"}, "vllm_modle: unknown variable; did you mean vllm_model?"),
    ({"vllm_hf_token": None}, 'vllm_hf_token: is null; remove the line to get the default ""'),
    (
        {"vllm_hf_token": [TOKEN]},
        "vllm_hf_token: its value is not allowed; use one text, not a list or a mapping",
    ),
    ({"vllm_hf_token": f"{TOKEN} "}, "vllm_hf_token: its value holds a blank; use the token alone"),
    ({"vllm_extra_args": {"port": 1}}, "vllm_extra_args.port: is not allowed here; set vllm_port instead"),
]
# By host: the roles that are checked there, and the host's variables.
HOSTS: dict[str, tuple[str | list[str], dict[str, t.Any]]] = {
    # no interpreter, no connection: the action needs none
    "defaults": (
        "vllm",
        {"ansible_connection": "ssh", "ansible_host": "192.0.2.1", "ansible_python_interpreter": "/nonexistent"},
    ),
    "all_roles": (ALL_ROLES, {"hf_cache_mode": "999", "vllm_port": 0}),
    "templates": (
        "vllm",
        {
            "my_port": "{{ 8000 + 1 }}",
            "vllm_port": "{{ my_port }}",
            "vllm_service_name": "vllm-{{ inventory_hostname }}",
            "vllm_container_name": "{{ vllm_service_name }}-one",
            "vllm_hf_offline": "{{ false }}",
            "vllm_max_model_len": "{{ none }}",
            "vllm_extra_args": "{{ {'max_num_seqs': 8} | combine(more) }}",
            "more": {"kv_cache_dtype": "fp8", "hf_overrides": {"a": "{{ my_port }}"}},
            "vllm_models": {"mine": "{{ base | combine({'id': 'a/b'}) }}"},
            "base": {"weights_bytes": 10, "layers": 1, "kv_heads": 1, "head_dim": 8, "native_context": 40000},
            "vllm_model": "mine",
        },
    ),
    "unknown_role": ("vlm", {}),
    **{
        f"switch{number}": ("vllm", {**TOO_LARGE, "spark_host_allow_other_hardware": switch})
        for number, (switch, _allowed) in enumerate(SWITCHES)
    },
    **{f"path{number}": (roles, {"hf_cache_path": "opt/hf"}) for number, roles in enumerate(BAD_PATH)},
    **{f"old{number}": (roles, {old: "/srv/hf"}) for number, (old, _new, roles) in enumerate(OLD_NAMES)},
    **{f"line{number}": ("vllm", variables) for number, (variables, _line) in enumerate(ONE_LINE)},
}


Checked = t.Callable[[str], dict[str, t.Any]]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook) -> Checked:
    """What each host got, all in one run."""
    folder = tmp_path_factory.mktemp("check")
    hosts = {name: {"checked_roles": roles, **variables} for name, (roles, variables) in HOSTS.items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    task = {"name": "Check", "dgxspark.vllm.check_variables": {"role": "{{ checked_roles }}"}}
    (folder / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "all", "connection": "local", "gather_facts": False, "tasks": [task]}]),
        encoding="utf-8",
    )
    environment = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    run = ansible_playbook(
        folder / "play.yml", "-vvv", inventory=folder / "hosts.yml", folder=folder, environment=environment
    )
    output = run.json()
    results = output["plays"][0]["tasks"][0]["hosts"]
    failed = {host: stats["failures"] == 1 for host, stats in output["stats"].items()}
    assert all(failed[host] == bool(results[host]["problems"]) for host in HOSTS), run.output
    assert run.code != 0
    return lambda host: t.cast("dict[str, t.Any]", results[host])


def play(
    ansible_playbook: AnsiblePlaybook,
    folder: Path,
    variables: str,
    arguments: str = DEFAULTS,
    hosts: int = 1,
    *flags: str,
) -> dict[str, t.Any]:
    """Runs the action, and returns what the first host got, the recap and the text."""
    book = folder / "play.yml"
    book.write_text(
        "- hosts: all\n  connection: local\n  gather_facts: false\n"
        + (
            "  vars:\n" + "".join(f"    {line}\n" for line in variables.strip().splitlines())
            if variables.strip()
            else ""
        )
        + f"  tasks:\n    - name: Check\n      dgxspark.vllm.check_variables: {arguments}\n",
        encoding="utf-8",
    )
    inventory = ",".join(f"host{number}" for number in range(hosts)) + ","
    environment = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    run = ansible_playbook(
        book, *flags, inventory=inventory, folder=folder, config=NO_SETTINGS, environment=environment
    )
    output = run.json()
    return {
        "result": output["plays"][0]["tasks"][0]["hosts"]["host0"],
        "stats": output["stats"],
        "text": run.output,
        "rc": run.code,
    }


def test_defaults_are_fine_and_nothing_is_touched(checked: Checked) -> None:
    assert checked("defaults")["problems"] == []
    assert checked("defaults")["changed"] is False


def test_all_roles_at_once(checked: Checked) -> None:
    result = checked("all_roles")
    assert result["problems"] == [
        "vllm_port: 0 is not allowed; use a TCP port from 1 to 65535",
        'hf_cache_mode: "999" is not allowed; use four octal digits in quotes, such as "0755"',
    ]
    assert result["msg"].splitlines() == result["problems"]


def test_templates_are_followed(checked: Checked) -> None:
    assert checked("templates")["problems"] == []


@pytest.mark.parametrize("number", range(len(SWITCHES)), ids=[str(switch) for switch, _allowed in SWITCHES])
def test_other_hardware_may_have_more_memory(checked: Checked, number: int) -> None:
    _switch, allowed = SWITCHES[number]
    problems = checked(f"switch{number}")["problems"]
    assert (problems == []) is allowed
    assert ("does not fit into the memory of a Spark" in str(problems)) is not allowed


@pytest.mark.parametrize("number", range(len(BAD_PATH)), ids=map(str, BAD_PATH))
def test_the_folder_of_the_models_is_a_variable_of_two_roles(checked: Checked, number: int) -> None:
    said = 'hf_cache_path: "opt/hf" is not allowed; use an absolute path such as /opt/hf'
    assert checked(f"path{number}")["problems"] == [said]


@pytest.mark.parametrize("number", range(len(OLD_NAMES)), ids=map(str, OLD_NAMES))
def test_an_old_name_is_answered_with_the_new_one(checked: Checked, number: int) -> None:
    old, new, _roles = OLD_NAMES[number]
    assert checked(f"old{number}")["problems"] == [f"{old}: was renamed to {new}; rename it where it is set"]


def test_a_vaulted_token(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n", encoding="utf-8")
    vault = [str(BIN / "ansible-vault"), "encrypt_string", "--vault-password-file", str(password), "--name"]
    for name, value, problems in (
        ("vllm_hf_token", TOKEN, []),
        ("vllm_hf_token", f"{TOKEN}\n", ["vllm_hf_token: its value holds a line break; use the token alone"]),
    ):
        text = subprocess.run([*vault, name, value], capture_output=True, text=True, check=True, timeout=60).stdout
        run = play(ansible_playbook, tmp_path, text, DEFAULTS, 1, "-vvv", "--vault-password-file", str(password))
        assert [line.rpartition(",")[0] for line in run["result"]["problems"]] == problems
        assert TOKEN not in run["text"]


@pytest.mark.parametrize("number", range(len(ONE_LINE)), ids=[line for _variables, line in ONE_LINE])
def test_one_line_and_no_secret(checked: Checked, number: int) -> None:
    (problem,) = checked(f"line{number}")["problems"]
    assert problem.startswith(ONE_LINE[number][1])
    # the play itself may hold the secret; the result may not
    assert TOKEN not in json.dumps(checked(f"line{number}"))


def test_files_of_the_controller_are_read_and_not_shown(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    (tmp_path / "a.jinja").write_text(TOKEN)
    item = "vllm_files: [{src: a.jinja, target: /opt/files/a}, {content: '{{ mine }}', target: /opt/files/b}"
    variables = f"mine: {TOKEN}\n{item}"
    run = play(ansible_playbook, tmp_path, f"{variables}]", DEFAULTS, 1, "-vvv")
    assert run["rc"] == 0, run["text"]
    run = play(ansible_playbook, tmp_path, f"{variables}, {{src: b, target: /opt/files/c}}]", DEFAULTS, 1, "-vvv")
    assert run["result"]["problems"] == [
        f'vllm_files[2].src: "{tmp_path}/b" does not exist on the controller; correct the path'
    ]
    assert TOKEN not in json.dumps(run["result"])


def test_extra_variables_and_check_mode(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, "", DEFAULTS, 1, "--check", "--diff", "-e", "vllm_port=99999")
    assert run["result"]["problems"] == ["vllm_port: 99999 is not allowed; use a TCP port from 1 to 65535"]


def test_an_unknown_role(checked: Checked) -> None:
    assert checked("unknown_role")["problems"] == ["role: vlm is not a role of this collection; did you mean vllm?"]


def test_an_image_to_avoid_is_a_warning_if_it_is_allowed(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, "vllm_image: nvcr.io/nvidia/vllm:26.06-py3\nvllm_image_allow: [avoid]")
    assert run["rc"] == 0
    assert "is better avoided: Every request under /v1 fails" in " ".join(run["text"].split())


def test_hosts_that_share_a_template_are_not_one_machine(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, "ansible_host: '{{ inventory_hostname }}.example.org'", DEFAULTS, 3)
    assert all(stats["ok"] == 1 for stats in run["stats"].values()), run["text"]


def test_many_hosts(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, "vllm_port: 1", DEFAULTS, 16)
    assert len(run["stats"]) == 16
    assert all(stats["ok"] == 1 for stats in run["stats"].values())


def test_a_source_has_to_be_in_the_inventory(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, "hf_cache_source: host7", "{role: hf_cache}", hosts=3)
    said = "hf_cache_source: host7 is not a host of the inventory; use one of host1, host2, or an absolute path such as"
    assert run["result"]["problems"] == [f"{said} /mnt/models"]


@pytest.mark.parametrize("source", ["", "a", "b", "/mnt/models", "not a name", None, 7])
def test_sources_that_are_fine_or_told_otherwise(source: t.Any) -> None:
    assert list(unknown_source(source, {"inventory_hostname": "a", "groups": {"all": ["a", "b"]}})) == []


def test_a_source_where_nobody_else_is() -> None:
    said = "hf_cache_source: b is not a host of the inventory; use an absolute path such as /mnt/models"
    assert list(unknown_source("b", {"inventory_hostname": "a", "groups": {"all": ["a"]}})) == [said]
