# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every run of a playbook in these tests is searched for the secrets that it was given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import SECRETS, AnsiblePlaybook, secrets_of

KEY = "correct-horse-battery"


def test_a_run_that_shows_a_secret_is_found(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    (tmp_path / "vault.json").write_text(json.dumps({"vllm_api_key": KEY}))
    task = {"ansible.builtin.debug": {"msg": "the key is {{ vllm_api_key }}"}}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    with pytest.raises(AssertionError, match="shows 1 of the secrets") as raised:
        ansible_playbook("play.yml", "--extra-vars=@vault.json", folder=tmp_path)
    assert KEY not in str(raised.value)


def test_keys_in_lists_count_and_names_of_variables_do_not() -> None:
    variables = {"gateway_keys": [{"name": "load", "key": KEY}], "vllm_hf_token": "{{ vault_token_of_us }}"}
    assert secrets_of(variables, []) == {KEY}


def test_it_knows_all_variables_that_are_hidden() -> None:
    hidden = {
        name
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values()
        for name, option in (entry.get("options") or {}).items()
        if option.get("no_log")
    }
    assert hidden and hidden <= set(SECRETS)
