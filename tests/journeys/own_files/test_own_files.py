# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an owner has beside the hub's models, in a real vLLM."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from support.deployments import EAGER
from support.models import bfloat16, make_by_heart, save
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CACHE, Spark

pytestmark = pytest.mark.usefixtures("prepared")

MODEL = "/srv/models/own-tiny"
CONTAINER = "vllm-own-tiny"
NOTE = "a note of the owner"
RANK, HIDDEN, QUERY = 8, 64, 128

# What the model says, in the format of Hermes, and the owner's own parser for it.
CALL = ("<tool_call>", '{"name": "get_weather", "arguments": {"city": "Paris"}}', "</tool_call>")
PARSERS = """
from vllm.tool_parsers.abstract_tool_parser import ToolParserManager
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser


class Own(Hermes2ProToolParser):
    pass


ToolParserManager.register_module("own", module=Own)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_by_heart(folder, *CALL, hidden=HIDDEN, heads=4, head_dim=32)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The template says the same whatever it is asked; the adapter is one of PEFT's for the first layer."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "chat.jinja").write_text("{% if messages %}three words here{% endif %}")
    (folder / "lora").mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    shapes = {f"{name}A.weight": [RANK, HIDDEN], f"{name}B.weight": [QUERY, RANK]}
    tensors = {name: (shape, bfloat16(0.01) * shape[0] * shape[1]) for name, shape in shapes.items()}
    save(folder / "lora" / "adapter_model.safetensors", tensors)
    adapter = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "lora" / "adapter_config.json").write_text(json.dumps(adapter))
    return {
        "vllm_model": MODEL,
        "vllm_files": [
            {"src": str(folder / "chat.jinja"), "target": "/opt/files/chat.jinja"},
            {"src": str(folder / "lora"), "target": "/opt/files/lora"},
            {"content": NOTE, "target": "/opt/files/note"},
            {"content": PARSERS, "target": "/opt/files/parsers.py"},
        ],
        "vllm_mounts": [{"source": "/srv/own-data", "target": "/data"}],
        "vllm_extra_args": {
            **EAGER,
            "chat_template": "/opt/files/chat.jinja",
            "tool_parser_plugin": "/opt/files/parsers.py",
            "tool_call_parser": "own",
            "enable_auto_tool_choice": True,
            "enable_lora": True,
            "lora_modules": ["own-lora=/opt/files/lora"],
        },
        "vllm_entrypoint": ["bash", "-c", 'echo started by $0; exec vllm serve "$@"', "the owner"],
    }


@pytest.fixture(scope="module")
def refused(spark: Spark, model: list[Path], variables: dict[str, Any], ansible_playbook: AnsiblePlaybook) -> Run:
    """A preview with a copy of the model that was broken off, and without the folder of the mount."""
    spark.root(f"rm -rf /srv/own-data {MODEL}; mkdir -p {MODEL}; chmod 777 {MODEL}")
    spark.copy(*[file for file in model if file.name != "tokenizer.json"], to=MODEL)
    return ansible_playbook("playbooks/deploy.yml", "--check", spark.limit, **variables)


@pytest.fixture(scope="module")
def run(
    spark: Spark, model: list[Path], variables: dict[str, Any], refused: Run, ansible_playbook: AnsiblePlaybook
) -> Run:
    spark.copy(*model, to=MODEL)
    spark.write("/srv/own-data/note", NOTE)
    return ansible_playbook("playbooks/deploy.yml", "--diff", spark.limit, **variables)


def ask(spark: Spark, path: str, **data: Any) -> dict[str, Any]:
    answer = spark.check_output(
        "curl --silent --fail --header 'Content-Type: application/json' --data %s %s",
        json.dumps(data),
        f"http://127.0.0.1:8000{path}",
    )
    found: dict[str, Any] = json.loads(answer)
    return found


def test_what_is_missing_is_named_in_the_preview(refused: Run) -> None:
    assert refused.code != 0
    assert f"vllm_model: {MODEL} is not complete: the tokenizer is missing; copy the model there again" in refused.words
    assert "vllm_mounts[0]: /srv/own-data does not exist on this host" in refused.words


def test_it_is_served_under_the_name_of_its_folder(spark: Spark, run: Run) -> None:
    assert run.code == 0, run.output
    assert "Its own files (folder) say" in run.words
    assert f"{spark.name} serves own-tiny" in run.words
    assert NOTE not in run.output
    assert (
        ask(spark, "/v1/completions", model="own-tiny", prompt="Hello", max_tokens=1)["usage"]["completion_tokens"] == 1
    )
    assert spark.root(f"ls {CACHE} | grep -c own || true") == "0"


def test_the_entry_point_is_the_owners(spark: Spark, run: Run) -> None:
    assert spark.root(f"docker logs {CONTAINER} 2>&1 | head -1") == "started by the owner"


def test_the_chat_template_is_used(spark: Spark, run: Run) -> None:
    """It leaves out what was said: a long message has as many tokens as a short one."""
    tokens = {
        ask(
            spark, "/v1/chat/completions", model="own-tiny", max_tokens=1, messages=[{"role": "user", "content": text}]
        )["usage"]["prompt_tokens"]
        for text in ("Hello", "Hello " * 50)
    }
    assert len(tokens) == 1
    assert tokens.pop() < 20


def test_the_tool_parser_is_proven(run: Run) -> None:
    assert "Tool calls: recognized by its parser" in run.words


def test_the_adapter_is_served(spark: Spark, run: Run) -> None:
    answer = ask(spark, "/v1/completions", model="own-lora", prompt="Hello", max_tokens=3)
    assert (answer["model"], answer["usage"]["completion_tokens"]) == ("own-lora", 3)


def test_the_container_reads_what_it_was_given_and_writes_none_of_it(spark: Spark, run: Run) -> None:
    for path in ("/data/note", "/opt/files/note"):
        assert spark.root(f"docker exec {CONTAINER} cat {path}") == NOTE
    for path in ("/data/note", "/opt/files/note", "/opt/files/chat.jinja", "/models/own-tiny/config.json"):
        write = shlex.join(["docker", "exec", CONTAINER, "sh", "-c", f"echo x >{path}"])
        assert "ead-only file system" in spark.root(f"! {write} 2>&1")
    assert spark.root("stat --format %a:%U $(readlink -f /opt/vllm/current)/files") == "700:root"


def test_a_second_run_changes_nothing(
    spark: Spark, run: Run, variables: dict[str, Any], ansible_playbook: AnsiblePlaybook
) -> None:
    again = ansible_playbook("playbooks/deploy.yml", spark.limit, **variables)
    assert again.code == 0, again.output
    assert again.count(spark.name, "changed") == 0, again.output
    health = ansible_playbook("playbooks/health.yml", spark.limit, **variables)
    assert f"{spark.name}  ready" in health.output, health.output


def test_a_parser_of_another_model_is_refused_with_its_cause(
    spark: Spark, run: Run, variables: dict[str, Any], ansible_playbook: AnsiblePlaybook
) -> None:
    """It answers 200, and the call is left in the text. The release that was proven serves again."""
    args = {**variables["vllm_extra_args"], "tool_call_parser": "pythonic"}
    wrong = ansible_playbook("playbooks/deploy.yml", spark.limit, **{**variables, "vllm_extra_args": args})
    assert wrong.code != 0, wrong.output
    assert "tool_parser" in wrong.words
    assert CALL[1] in wrong.words
    health = ansible_playbook("playbooks/health.yml", spark.limit, **variables)
    assert f"{spark.name}  ready" in health.output, health.output
