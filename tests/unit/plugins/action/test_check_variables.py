# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action in a real play: what the operator sees, with what Ansible really hands over."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.hf_cache import unknown_source

from support.paths import BIN
from support.playbook import AnsiblePlaybook

TOKEN = "hf_" + "z9Y8" * 8
DEFAULTS = "{role: vllm}"


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
    (folder / "ansible.cfg").touch()
    inventory = ",".join(f"host{number}" for number in range(hosts)) + ","
    environment = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    config = folder / "ansible.cfg"
    run = ansible_playbook(book, *flags, inventory=inventory, folder=folder, config=config, environment=environment)
    output = run.json()
    return {
        "result": output["plays"][0]["tasks"][0]["hosts"]["host0"],
        "stats": output["stats"],
        "text": run.output,
        "rc": run.code,
    }


def test_defaults_are_fine_and_nothing_is_touched(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    # no interpreter, no connection: the action needs none
    run = play(
        ansible_playbook,
        tmp_path,
        "ansible_connection: ssh\nansible_host: 192.0.2.1\nansible_python_interpreter: /nonexistent",
    )
    assert run["rc"] == 0, run["text"]
    assert run["result"]["problems"] == []
    assert run["result"]["changed"] is False


def test_all_roles_at_once(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(
        ansible_playbook,
        tmp_path,
        "hf_cache_mode: '999'\nvllm_port: 0",
        "{role: [vllm, hf_cache, spark_host, container_runtime]}",
    )
    assert run["result"]["problems"] == [
        "vllm_port: 0 is not allowed; use a TCP port from 1 to 65535",
        'hf_cache_mode: "999" is not allowed; use four octal digits in quotes, such as "0755"',
    ]
    assert run["result"]["msg"].splitlines() == run["result"]["problems"]
    assert run["rc"] != 0


def test_templates_are_followed(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(
        ansible_playbook,
        tmp_path,
        """
        my_port: "{{ 8000 + 1 }}"
        vllm_port: "{{ my_port }}"
        vllm_service_name: "vllm-{{ inventory_hostname }}"
        vllm_container_name: "{{ vllm_service_name }}-one"
        vllm_hf_offline: "{{ false }}"
        vllm_max_model_len: "{{ none }}"
        vllm_extra_args: "{{ {'max_num_seqs': 8} | combine(more) }}"
        more: {kv_cache_dtype: fp8, hf_overrides: {a: "{{ my_port }}"}}
        vllm_models:
          mine: "{{ base | combine({'id': 'a/b'}) }}"
        base: {weights_bytes: 10, layers: 1, kv_heads: 1, head_dim: 8, native_context: 40000}
        vllm_model: mine
        """.replace("        ", ""),
    )
    assert run["rc"] == 0, run["text"]


@pytest.mark.parametrize(("switch", "rc"), [("false", 2), ("'{{ not false }}'", 0), ("'{{ no_such }}'", 2)])
def test_other_hardware_may_have_more_memory(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, switch: str, rc: int
) -> None:
    wanted = "vllm_model: llama33-70b-fp8\nvllm_max_model_len: 131072"
    run = play(ansible_playbook, tmp_path, f"{wanted}\nspark_host_allow_other_hardware: {switch}")
    assert run["rc"] == rc, run["text"]
    assert ("does not fit into the memory of a Spark" in run["text"]) is (rc != 0)


@pytest.mark.parametrize("roles", ["vllm", "hf_cache", "[hf_cache, vllm]"])
def test_the_folder_of_the_models_is_a_variable_of_two_roles(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, roles: str
) -> None:
    run = play(ansible_playbook, tmp_path, "hf_cache_path: opt/hf", f"{{role: {roles}}}")
    assert run["result"]["problems"] == ['hf_cache_path: "opt/hf" is not allowed; use an absolute path such as /opt/hf']


@pytest.mark.parametrize(
    ("old", "new", "roles"),
    [
        ("vllm_hf_cache", "hf_cache_path", "vllm"),
        ("vllm_hf_cache", "hf_cache_path", "hf_cache"),  # it cleans and fills that folder
        ("vllm_roll_back_to", "vllm_rollback_release", "[hf_cache, vllm]"),
    ],
)
def test_an_old_name_is_answered_with_the_new_one(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, old: str, new: str, roles: str
) -> None:
    run = play(ansible_playbook, tmp_path, f"{old}: /srv/hf", f"{{role: {roles}}}")
    assert run["result"]["problems"] == [f"{old}: was renamed to {new}; rename it where it is set"]


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


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ("hf_cache_path: '{{ no_such }}'", "hf_cache_path: cannot be read; 'no_such' is undefined"),
        ("vllm_hf_token: '{{ vault_token }}'", "vllm_hf_token: cannot be read; 'vault_token' is undefined"),
        (
            f"vllm_hf_token: '{{{{ \"{TOKEN}\" | no_such_filter }}}}'",
            "vllm_hf_token: cannot be read; its template or vault gives ",
        ),
        ("vllm_home: '{{ omit }}'", "vllm_home: cannot be read; "),
        ("vllm_modle: x", "vllm_modle: unknown variable; did you mean vllm_model?"),
        ("vllm_hf_token:", 'vllm_hf_token: is null; remove the line to get the default ""'),
        (
            f"vllm_hf_token: ['{TOKEN}']",
            "vllm_hf_token: its value is not allowed; use one text, not a list or a mapping",
        ),
        (f"vllm_hf_token: '{TOKEN} '", "vllm_hf_token: its value holds a blank; use the token alone"),
        ("vllm_extra_args: {port: 1}", "vllm_extra_args.port: is not allowed here; set vllm_port instead"),
    ],
)
def test_one_line_and_no_secret(tmp_path: Path, ansible_playbook: AnsiblePlaybook, variables: str, line: str) -> None:
    run = play(ansible_playbook, tmp_path, variables, DEFAULTS, 1, "-vvv")
    assert run["rc"] != 0
    assert len(run["result"]["problems"]) == 1
    assert run["result"]["problems"][0].startswith(line)
    # the play itself may hold the secret; the result may not
    assert TOKEN not in json.dumps(run["result"])


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


def test_an_unknown_role(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    run = play(ansible_playbook, tmp_path, "", "{role: vlm}")
    assert run["result"]["problems"] == ["role: vlm is not a role of this collection; did you mean vllm?"]


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
