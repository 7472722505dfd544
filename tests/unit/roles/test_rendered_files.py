# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user wrote is what Compose reads: in compose.yaml and .env, unless the check of the variables refuses it."""

from __future__ import annotations

import re
import typing as t

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import dotenv_value
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import problems
from hypothesis import assume, given
from hypothesis import strategies as st
from test_release_ids import ENVIRONMENT

from support.services import KNOWN, resolved, spark, values

CATALOG = Catalog()
SECRETS = {"HF_TOKEN": "hf_0123456789abcdef", "VLLM_API_KEY": "correct-horse-battery"}
NASTY = (
    *("$", "$$", "${", "}", "$HOME", "${HF_TOKEN}", "'", '"', "\\", "\\n", "#", " #", ":", ": ", "- ", "%", "{{", "}}"),
    *("\x85", "\x7f", "\x9b", "\u2028", "\u202e", "\ufeff", "\x00", "\x1b", "\t", " ", "\r", "\n", "\ud800", "\uffff"),
    *("1e3", "0x1f", "1_000", "12:30", "=", "&a", "*a", "!x", "|", ">", "@", "`", "yes", "~", "null", "010"),
    *("é", "中", "😀"),
)
TEXTS = st.lists(st.sampled_from(NASTY) | st.text(max_size=3), max_size=6).map("".join)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True) | st.sampled_from(
    ["null", "Null", "NULL", "true", "True", "false", "yes", "NO", "on", "Off", "y", "N", "_", "nan", "inf", "e1"]
)


def refused(**variables: t.Any) -> list[str]:
    return problems("vllm", variables, KNOWN, CATALOG)


def compose(**variables: t.Any) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """The service as Compose reads it, and as it was resolved."""
    typed = values(**variables)
    found = resolved(spark(), **variables).as_dict()
    text = ENVIRONMENT.get_template("compose.yaml.j2").render(
        **{name: typed[name] for name in KNOWN}, __vllm_resolved={**found, "plan": {}}, __vllm_release="0" * 12
    )
    (service,) = interpolated(yaml.safe_load(text))["services"].values()
    return service, found


def interpolated(value: t.Any) -> t.Any:
    """Values, not keys, as Compose replaces variables in them; ValueError for one that is no variable of ours."""
    if isinstance(value, dict):
        return {key: interpolated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item) for item in value]
    if not isinstance(value, str):
        return value

    def replace(found: t.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        if found[1] not in SECRETS:
            raise ValueError(f"{value!r} holds {found[0]!r}")
        return SECRETS[found[1]]

    return re.sub(r"\$\$|\$\{(\w+)\}|\$", replace, value)


@given(st.dictionaries(NAMES, TEXTS | st.integers(), max_size=4))
def test_environment(environment: dict[str, t.Any]) -> None:
    assume(not refused(vllm_extra_env=environment))
    service, _resolved = compose(vllm_extra_env=environment)
    read = service["environment"]
    assert all(isinstance(name, str) for name in read)
    assert {name: read[name] for name in environment} == {name: str(value) for name, value in environment.items()}


@pytest.mark.parametrize("name", ["null", "true", "Yes", "N"])
def test_a_name_that_yaml_takes_for_another_thing(name: str) -> None:
    assert refused(vllm_extra_env={name: "1"}) == []
    assert compose(vllm_extra_env={name: "1"})[0]["environment"][name] == "1"


@given(
    TEXTS.filter(lambda text: not refused(vllm_extra_args={"chat_template": text})),
    TEXTS.filter(lambda text: not refused(vllm_extra_args={"hf_overrides": {text: []}})),
)
def test_arguments(template: str, key: str) -> None:
    variables = {"vllm_extra_args": {"chat_template": template, "hf_overrides": {key: [template]}}}
    assume(not refused(**variables))
    service, found = compose(**variables)
    assert service["command"] == found["argv"]
    assert any(word.endswith(template) for word in service["command"])  # or --chat-template=...


@given(st.lists(TEXTS.filter(lambda word: not refused(vllm_entrypoint=[word])), max_size=4))
def test_entry_point(words: list[str]) -> None:
    """The model and the options follow it; without one the image's own entry point stays."""
    assume(not refused(vllm_entrypoint=words))
    service, found = compose(vllm_entrypoint=words)
    assert service.get("entrypoint", []) == words
    assert service["command"] == (found["arguments"] if words else ["vllm", "serve", *found["arguments"]])


@given(TEXTS)
def test_profile(name: str) -> None:
    own = {name: {"args": {"gpu_memory_utilization": 0.8, "max_num_seqs": 4}}}
    variables = {"vllm_profile": name, "vllm_profiles": own}
    assume(not refused(**variables))
    assert compose(**variables)[0]["labels"]["dgxspark.vllm.profile"] == name


@given(st.lists(st.sampled_from([*NASTY, "a", "a/b", "localhost:5000/", "example.org/", "v1", "-", "."])).map("".join))
def test_image(ref: str) -> None:
    variables = {"vllm_image": ref, "vllm_image_allow": ["unknown", "moving"]}
    if ref and not refused(**variables):  # without one the image follows the model
        assert compose(**variables)[0]["image"] == ref
        assert re.fullmatch(r"[A-Za-z0-9\[][A-Za-z0-9./:@_\[\]-]*", ref)


@given(st.integers(-1, 10**9) | st.sampled_from(["010", "08", "1_0", "0x10", "-1", "5", "+5", " 5", "٥", "1e3", ""]))
def test_limit(value: int | str) -> None:
    for limit in (value, {"soft": value, "hard": value}):
        if not refused(vllm_ulimits={"nofile": limit}):
            read = compose(vllm_ulimits={"nofile": limit})[0]["ulimits"]["nofile"]
            assert [int(one) for one in (read.values() if isinstance(read, dict) else [read])][0] == int(value)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20) | TEXTS)
def test_secrets(secret: str) -> None:
    secret = f"a1B2c3D4e5F6g7H8{secret}"
    if refused(vllm_api_key=secret, vllm_hf_token=secret):
        return
    text = ENVIRONMENT.get_template("env.j2").render(vllm_api_key=secret, vllm_hf_token=secret)
    for name in SECRETS:
        assert dotenv_value(text, name) == secret
        assert f"\n{name}='{secret}'" in text  # in single quotes Compose replaces nothing


@pytest.mark.parametrize("read_only", [False, True])
def test_another_user_has_no_capability_and_an_empty_home(read_only: bool) -> None:
    service, found = compose(vllm_container_user="1000:1001", vllm_read_only_root=read_only)
    assert (service["user"], service["cap_drop"], "cap_add" in service) == ("1000:1001", ["ALL"], False)
    homes = [line for line in service["tmpfs"] if line.startswith("/root")]
    assert homes == ["/root:exec,uid=1000,gid=1001,mode=700,size=1g"]
    assert f"{found['compile_cache']}:/root/.cache" in service["volumes"]
    assert "user" not in compose()[0]
    assert "tmpfs" not in compose()[0]
