# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A value from outside has the expected type, or it is none; and no parser of such values raises, whatever it gets."""

from __future__ import annotations

import json
import math
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes import machine
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import lock
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy, model_files
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import (
    configuration,
    daemon_json,
    docker,
    port_holder,
    spark,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import LARGEST, parse_json, real, whole
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import (
    api,
    benchmark,
    diagnose,
    image_probe,
    lines,
    log,
)
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fleet
from hypothesis import given, settings
from hypothesis import strategies as st

ODD: tuple[t.Any, ...] = (
    *(None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", "²", "١", "1_000", " 7 ", "9" * 5000),
    *("nan", "1e308", "\x1b]0;x\x07", "[N/A]", [], {}, [None], {"a": None}, [{}], {"": [None]}),
)


@pytest.mark.parametrize("value", ODD)
def test_numbers(value: t.Any) -> None:
    assert whole(value) in (None, -1, 0, 7)
    found = real(value)
    assert found is None or (math.isfinite(found) and abs(found) <= LARGEST)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "", "\0", "NaN", "{"])
def test_json_of_a_stranger(text: str) -> None:
    found = parse_json(text)
    assert found is None or not isinstance(found, (list, dict))
    assert lines.clean(f'{{"log":{text}').startswith('{"log":')  # as Docker's own file of a log begins


# --- every parser ---------------------------------------------------------------------------------------------------

# The names that the parsers look for: with odd values below them, most of each parser is reached.
NAMES = st.sampled_from(
    [
        *("State", "Config", "HostConfig", "Labels", "PortBindings", "8000/tcp", "HostIp", "HostPort", "Id", "Name"),
        *("Path", "Args", "Status", "ExitCode", "Pid", "Error", "RestartCount", "RestartPolicy", "StartedAt"),
        *("FinishedAt", "Running", "Image", "ClientInfo", "Plugins", "Version", "ServerVersion", "Runtimes"),
        *("DefaultRuntime", "CDISpecDirs", "CgroupDriver", "DockerRootDir", "data", "id", "max_model_len", "version"),
        *("choices", "text", "usage", "completion_tokens", "error", "message", "run", "user", "controller", "since"),
        *("until", "dgxspark.vllm.service"),
    ]
)
VALUES = st.recursive(
    st.sampled_from(ODD) | st.text(max_size=20) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=30,
)
NUMBERS = st.sampled_from(
    ["1", "²", "9" * 5000, "1e308", "-1e308", "nan", "inf", "[N/A]", "", "1,2", ",", "\x1b[2J", "٣"]
)
WORDS = st.sampled_from(
    [
        *('vllm:generation_tokens_total{a="b"} ', "vllm:prefix_cache_hits_total ", "vllm:num_requests_running "),
        *("vllm:prefix_cache_queries_total ", "vllm:kv_cache_usage_perc ", "\t", "\n", "\n", "\n", " kB", ", ", "="),
        *('vllm:cache_config_info{kv_cache_size_tokens="', '",kv_cache_max_concurrency="', '"} 1'),
        *("LoadState=loaded", "NRestarts=", "ExecMainStartTimestampMonotonic=", "Id=a", "Names=b c"),
        *("MemTotal: ", "MemAvailable: ", "CUDA Version: ", "NVIDIA GB10", "0.0.0.0:8000->8000/tcp", ":-", "->1"),
        *("KV cache size: ", " tokens", "Maximum concurrency for ", " tokens per request: ", "x", "Loading weights: "),
        *("% Completed | ", "/", "Capturing CUDA graphs: ", "%|#| ", "INFO 01-01 00:00:00 [a.py:1] ", "2026-13-99T"),
        *("NVRM: Xid (PCI:0): ", "Out of memory: Killed process ", " (python) ", "anon-rss:", "kB", "NV_ERR_NO_MEMORY"),
        *("SIGTERM to process ", ' "vllm"', "VmRSS ", " MiB", "1795644000.123 ", "00:00:00Z", "0000-00-00T00:00:00Z"),
        *("Error: ", "Traceback (most recent call last):", "RuntimeError: ", "not started: ", "  File "),
    ]
)
TEXTS = (
    st.text()
    | VALUES.map(json.dumps)
    | VALUES.map(lambda value: json.dumps([value]))
    | st.lists(WORDS | NUMBERS, max_size=30).map("".join)
    | st.sampled_from(["[" * 100_000, '[{"a":' * 100_000, "[null]", "[[]]", "[{}]"])
)
PARSERS: dict[str, t.Callable[[str], t.Any]] = {
    "inspect": docker.parse_inspect,
    "holder": port_holder.holder_of,
    "with_unit": lambda text: port_holder.with_unit({"project": None, "running": False}, text),
    "unit": docker.parse_unit,
    "units": lambda text: configuration.parse_units(text, ["a", "b"]),
    "epoch": docker.epoch,
    "assignments": spark.parse_assignments,
    "os": lambda text: spark.parse_os(text, text, text),
    "meminfo": spark.parse_meminfo,
    "gpu": lambda text: spark.throttle_verdict(spark.parse_gpu(text, text)),
    "gpu_csv": lambda text: spark.parse_gpu(",".join((text.split("\n")[0].split(",") + ["nan"] * 6)[:6]), text),
    "docker_info": spark.parse_docker_info,
    "packages": spark.parse_packages,
    "daemon_json": daemon_json.parse,
    "cdi": spark.parse_cdi_devices,
    "version": spark.parse_version,
    "sockets": lambda text: spark.listening_inodes(text, 8000),
    "container_of": lambda text: spark.container_of(text, 8000, text),
    "services": spark.parse_services,
    "metrics": api.parse_metrics,
    "models": api.parse_models,
    "api_version": api.parse_version,
    "completion": api.parse_completion,
    "error": lambda text: api.error_message(api.Answer(500, text)),
    "dotenv": lambda text: api.dotenv_value(text, "VLLM_API_KEY"),
    "log": log.parse,
    "diagnose": diagnose.diagnose,
    "docker_error": lambda text: diagnose.diagnose(text, source="docker"),
    "journal": lambda text: diagnose.diagnose(text, source="journal"),
    "machine": lambda text: machine.look(text, text),
    "lock": lock.parse,
    "benchmark": benchmark.parse_result,
    "rsync": lambda text: (copy.parse_stats(text), copy.parse_stats(f"Literal data: {text}")),
    "image_answer": lambda text: (
        image_probe.read_answer(text),
        image_probe.read_answer(f'{{"errors": {{}}, "vllm": {text}, "options": {text}, "architectures": {text}}}'),
    ),
    "image": lambda text: (
        image_probe.read_image(text),
        image_probe.read_image(
            f'{{"Id": "sha256:{"0" * 64}", "Config": {text}, "RepoDigests": {text}, "Size": {text}}}'
        ),
    ),
    "ref": lambda text: model_files.read_ref("/nowhere", "/nowhere/models--a--b", text),
    "labels": lambda text: fleet.expected_tokens({"dgxspark.vllm.planned_tokens": text}),
}


@given(TEXTS)
@settings(max_examples=2 * settings.default.max_examples)
def test_no_parser_raises(text: str) -> None:
    """One text for all of them: to find a text takes longer than to read it."""
    for name, parse in PARSERS.items():
        try:
            parse(text)
        except Exception as error:
            error.add_note(f"parser: {name}")
            raise


def test_the_figures_of_rsync_have_a_bound() -> None:
    """It runs on the source, too, which may be anybody's."""
    assert copy.parse_stats(f"Literal data: {'9' * 5000}\nTotal bytes received: 7") == copy.Received(1, 0, 7)


@given(st.binary(max_size=100))
def test_no_ref_raises(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.mktemp("hf")
    folder = root / "models--a--b"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_bytes(content)
    assert isinstance(model_files.read_ref(str(root), str(folder), "main"), str)


@given(VALUES)
def test_nor_do_those_of_docker_whatever_stands_where(value: t.Any) -> None:
    for name in ("State", "Config", "HostConfig"):
        text = json.dumps([{"Id": "a", name: value}])
        docker.parse_inspect(text)
        port_holder.holder_of(text)
    docker.published_address(value)
    spark.parse_docker_info(json.dumps({"ClientInfo": {"Plugins": value}, "Runtimes": value, "CDISpecDirs": value}))


def test_what_they_say_is_text_of_one_line() -> None:
    evil = "a\x1b]52;c;eA==\x07\x9b2J\u202eb"
    inspected = json.dumps(
        [
            {
                "Id": evil,
                "Name": evil,
                "State": {"Status": evil, "Error": evil},
                "Config": {"Image": evil, "Labels": {evil: evil, "com.docker.compose.project": evil}},
                "HostConfig": {"PortBindings": {"8000/tcp": [None, {"HostIp": evil, "HostPort": "8000"}]}},
            }
        ]
    )
    found: list[t.Any] = [
        docker.parse_inspect(inspected),
        port_holder.holder_of(inspected),
        spark.parse_gpu(f"{evil},{evil},1,2,3,4", ""),
        spark.parse_docker_info(json.dumps({"ClientInfo": {"Version": evil}, "ServerVersion": evil})),
        spark.parse_services(f"{evil}\t{evil}\t1\t{evil}"),
        spark.parse_os(f"ID={evil}", f"DGX_NAME={evil}", ""),
        api.parse_models(json.dumps({"data": [{"id": evil}]})),
        api.parse_version(json.dumps({"version": evil})),
        api.parse_completion(json.dumps({"choices": [{"text": evil}]})),
        api.error_message(api.Answer(500, json.dumps({"error": {"message": f"{evil}\n{evil}"}}))),
        log.parse(f"RuntimeError: {evil}"),
    ]
    for each in found:
        assert not set("\x1b\x07\x9b\u202e\n") & set(repr_of(each)), each


def repr_of(value: t.Any) -> str:
    """All texts in a value, as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "".join(repr_of(each) for pair in value.items() for each in pair)
    if isinstance(value, (list, tuple)):
        return "".join(map(repr_of, value))
    return repr_of(vars(value)) if hasattr(value, "__dict__") else ""
