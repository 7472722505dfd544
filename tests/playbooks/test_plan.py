# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role says of its plan, and whom it refuses; the service itself: test__plan_resolve.py.

On hosts of which spark_info would say that they have a Spark's memory.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
import typing as t
from pathlib import Path

import pytest
import yaml

from support.playbook import AnsiblePlaybook

GIB = 1024**3
TOTAL = int(121.7 * GIB)

LONG = {"vllm_model": "llama33-70b-fp8", "vllm_max_model_len": 131072}
HEAVY = {"id": "a/b", "weights_bytes": 10**13, "layers": 1, "kv_heads": 1, "head_dim": 64, "native_context": 40960}
BIG = {"service": "vllm-big", "container": "vllm-big-x", "planned_bytes": 60 * GIB}
# The files of the role that are run here, and its tasks by what is asked of them.
RESOLVE, PLAN = "deploy/resolve.yml", "deploy/memory_plan.yml"
NOTHING_PLANNED = "memory_plan | Show that there is no plan"
ASSUMED = "memory_plan | Show what is assumed"
READ = "read_model | Read the files of the model"
LEFT_NOTHING = "memory_plan | Fail if the services of this host do not fit together"
EXPLAINED = "memory_plan | Show the source of each option and variable"
CAPPED = "memory_plan | Show that the share of the memory is capped"
REFUSED = "memory_plan | Fail if the model does not fit"
SAID = "memory_plan | Warn that the model does not fit"
TAKEN_REFUSED = "memory_plan | Fail if other programs use the memory"
TAKEN_SAID = "memory_plan | Warn that other programs use the memory"
HOSTS: dict[str, dict[str, t.Any]] = {
    "default": {},
    "latency": {
        "vllm_profile": "latency",
        "vllm_explain": True,
        "vllm_image_registry": "harbor.example.org/nvcr",
        "vllm_hf_token": "hf_notToBePrinted",
        "vllm_extra_args": {"max_num_seqs": None, "kv_cache_dtype": "fp8"},
        "vllm_extra_env": {"TRITON_CACHE_DIR": "/tmp/triton"},
    },
    "long": LONG,
    "explained": {**LONG, "vllm_explain": True, "__vllm_switch": False},
    "tried": {**LONG, "vllm_enforce_memory_plan": False},
    "remedied": {**LONG, "vllm_auto_remedy": True},
    "found": {**LONG, "vllm_auto_remedy": True, "__vllm_remedy": {"vllm_max_model_len": 120000}},
    "heavy": {"vllm_model": "heavy", "vllm_auto_remedy": True, "vllm_models": {"heavy": HEAVY}},
    # models without an entry: from a second cache, and through a proxy
    "from_disk": {"vllm_model": "a/disk", "vllm_hf_offline": True, "hf_cache_source": "{{ folder }}/disk"},
    "proxied": {
        "vllm_model": "a/hub",
        "vllm_hf_endpoint": "http://hub.invalid",
        "vllm_extra_env": {"http_proxy": "http://127.0.0.1:{{ proxy_port }}"},
    },
    # one that does not say how long a context may be, and one of which nothing can be read
    "endless": {"vllm_model": "a/endless", "vllm_hf_offline": True, "hf_cache_source": "{{ folder }}/disk"},
    "auto": {
        "vllm_model": "a/endless",
        "vllm_hf_offline": True,
        "hf_cache_source": "{{ folder }}/disk",
        "vllm_extra_args": {"max_model_len": "auto"},
    },
    "unread": {"vllm_model": "a/missing", "vllm_hf_offline": True},
    "blind": {"vllm_model": "a/missing", "vllm_hf_offline": True, "vllm_enforce_memory_plan": False},
    # beside what is not of this collection
    "ollama": {"available": 90 * GIB},
    "offloading_beside_ollama": {"available": 90 * GIB, "vllm_extra_args": {"kv_offloading_size": 20}},
    "cache_beside_ollama": {
        "available": 90 * GIB,
        "vllm_gpu_memory_utilization": 0.3,
        "vllm_extra_args": {"kv_cache_memory_bytes": 90 * GIB},
    },
    "share_beside_ollama": {
        "available": 90 * GIB,
        "vllm_extra_args": {"kv_cache_memory_bytes": 8 * GIB, "kv_offloading_size": 1},
    },
    "tried_beside_ollama": {"available": 90 * GIB, "vllm_enforce_memory_plan": False},
    "staged_beside_ollama": {"available": 90 * GIB, "__vllm_stage_only": True},
    "unchanged_beside_ollama": {"available": 90 * GIB, "__vllm_switch": False},
    "foreign_beside_ollama": {"available": 90 * GIB, "__vllm_displaced": [{"name": "somebody"}]},
    "served_less": {"available": 8 * GIB, "services": [{**BIG, "service": "vllm"}]},
    "crowded": {
        "services": [{**BIG, "planned_bytes": 100 * GIB}, {**BIG, "service": "vllm-b", "planned_bytes": 10 * GIB}],
        "vllm_port": 8001,
    },
    "full": {"services": [{**BIG, "planned_bytes": 112 * GIB}], "vllm_port": 8001},
}
PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            *(
                {"include_role": {"name": "dgxspark.vllm.vllm", "tasks_from": file, "public": True}}
                for file in (RESOLVE, PLAN)
            ),
            {
                "copy": {
                    "content": "{{ __vllm_resolved | to_json }}",
                    "dest": "{{ folder }}/{{ inventory_hostname }}.json",
                    "mode": "0600",
                }
            },
        ],
    }
]


CONFIG = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "max_position_embeddings": 40960}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Proxy(http.server.BaseHTTPRequestHandler):
    """A proxy behind which there is a hub with one model."""

    files: t.ClassVar = {"config.json": CONFIG, "model.safetensors.index.json": {"metadata": {"total_size": 5 * GIB}}}

    def do_GET(self) -> None:
        known = {f"http://hub.invalid/a/hub/resolve/main/{name}": content for name, content in self.files.items()}
        body = json.dumps(known.get(self.path, {})).encode()
        self.send_response(200 if self.path in known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: t.Any) -> None:
        pass


@pytest.fixture(scope="module", name="proxy_port")
def _proxy_port() -> t.Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def make_disk(folder: Path) -> None:
    """A cache with the files of a/disk and a/endless that say what they are."""
    endless = {name: value for name, value in CONFIG.items() if name != "max_position_embeddings"}
    for name, config in (("disk", CONFIG), ("endless", endless)):
        snapshot = folder / f"models--a--{name}" / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text(json.dumps(config))
        (snapshot / "model.safetensors").write_bytes(b"x" * 999)
        (folder / f"models--a--{name}" / "refs").mkdir()
        (folder / f"models--a--{name}" / "refs" / "main").write_text(COMMIT)


@pytest.fixture(scope="module", name="run")
def _run(
    tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook, proxy_port: int
) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("plan")
    make_disk(folder / "disk")
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "folder": str(folder),
        "proxy_port": proxy_port,
        "hf_cache_path": str(folder / "cache"),
        "services": [],
        "listener": None,
        "available": 116 * GIB,
        "vllm_gpu": "nvidia",
        "__vllm_switch": True,
        "__vllm_stage_only": False,
        "__vllm_displaced": [],
        "__dgxspark": {
            "spark": {
                "memory": {"total_bytes": TOTAL, "available_bytes": "{{ available }}"},
                "services": "{{ services }}",
                "listener": "{{ listener }}",
            }
        },
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": HOSTS, "vars": common}}))
    (folder / "play.yml").write_text(yaml.safe_dump(PLAY))
    run = ansible_playbook(folder / "play.yml", inventory=folder / "hosts.yml")
    assert run.code == 2, run.output  # some are refused
    return run.output, folder


def outcome(run: tuple[str, Path], host: str) -> dict[str, t.Any]:
    read: dict[str, t.Any] = json.loads((run[1] / f"{host}.json").read_text())
    return read


def told(run: tuple[str, Path], host: str, task: str) -> str | None:
    """What the task said of the host, on one line."""
    _before, _found, rest = run[0].partition(f"{task}]")
    part = rest.partition("\nTASK [")[0]
    for block in part.split("\nfatal: ")[1:] + part.split("\nok: ")[1:]:
        if block.startswith(f"[{host}]"):
            return " ".join(block.split("\nok: ")[0].split("\nfatal: ")[0].split())
    return None


def test_what_fits_is_served_without_a_word(run: tuple[str, Path]) -> None:
    assert outcome(run, "default")["plan"]["kv_tokens"] == 717312
    for task in (EXPLAINED, SAID, TAKEN_SAID):
        assert told(run, "default", task) is None


@pytest.mark.parametrize(("host", "size"), [("from_disk", 999), ("proxied", 5 * GIB)])
def test_the_files_of_a_model_without_an_entry(run: tuple[str, Path], host: str, size: int) -> None:
    assert outcome(run, host)["plan"]["weights_bytes"] == size


def test_a_model_that_does_not_say_how_long_a_context_may_be(run: tuple[str, Path]) -> None:
    assert outcome(run, "endless")["plan"]["context"] == 32768
    for host in ("endless", "auto"):
        said = told(run, host, ASSUMED)
        assert said
        assert "an unknown length of context; its config.json has no max_position_embeddings" in said
    assert outcome(run, "auto")["plan"] == {}  # vLLM finds what fits


def test_a_model_of_which_nothing_can_be_read(run: tuple[str, Path]) -> None:
    said = told(run, "unread", READ)
    assert said
    assert "vllm_model: a/missing cannot be planned: it is not in" in said
    assert "or set vllm_enforce_memory_plan: false to try it without a plan" in said
    assert not (run[1] / "unread.json").exists()
    assert outcome(run, "blind")["plan"] == {}
    assert "vllm serve a/missing" in " ".join(outcome(run, "blind")["argv"])
    said = told(run, "blind", NOTHING_PLANNED)
    assert said
    assert "forbids to ask the hub; nothing is planned, because vllm_enforce_memory_plan is false" in said


def test_explained_as_it_is_run(run: tuple[str, Path]) -> None:
    assert told(run, "latency", EXPLAINED)
    said = " ".join(run[0].split())  # which is printed as it is, and not as a result
    for line in outcome(run, "latency")["lines"]:
        assert " ".join(line.split()) in said
    for line in (
        "latency would run harbor.example.org/nvcr/nvidia/vllm:25.09-py3 for Qwen/Qwen3-8B-FP8 with",
        "(max_num_seqs is dropped) vllm_extra_args, instead of 16 of profile latency",
        "TRITON_CACHE_DIR=/tmp/triton vllm_extra_env, instead of /root/.cache/triton of the collection",
        "HF_TOKEN is for the download only vllm_hf_token",
        "Known fault of this image: The page cache counts as used GPU memory. Set vllm_drop_page_cache to"
        " true; the role then drops the page cache before each start. Fixed in vLLM pull request 35356, in images"
        " newer than 26.01.",
    ):
        assert line in said
    assert "hf_notToBePrinted" not in run[0]


def test_what_is_capped_says_of_which_host(run: tuple[str, Path]) -> None:
    said = told(run, "crowded", CAPPED)
    assert said
    assert "crowded: gpu_memory_utilization is capped at" in said


def test_explained_is_what_a_deployment_refuses(run: tuple[str, Path]) -> None:
    assert told(run, "explained", EXPLAINED)
    said = " ".join(run[0].split())
    assert said.count("is refused: ") == 1
    assert "It serves already. A new deployment of it is refused: llama33-70b-fp8 does not fit into the" in said


def test_llama_70b_at_128k_is_refused_with_three_ways_out(run: tuple[str, Path]) -> None:
    said = told(run, "long", REFUSED)
    assert said
    assert "FAILED" in said
    assert "llama33-70b-fp8 does not fit into the memory of long: one request of 131,072 tokens needs 40.0 GiB" in said
    assert "Nothing was changed; vllm_enforce_memory_plan: false tries it all the same." in said
    assert " 1. vllm_max_model_len: 121856 instead of 131072" in said
    assert " 2. vllm_extra_args: {kv_cache_dtype: fp8}; KV cache of 245,344 tokens" in said
    assert " 3. " in said


@pytest.mark.parametrize("host", ["tried", "remedied"])
def test_what_is_said_only(run: tuple[str, Path], host: str) -> None:
    assert told(run, host, REFUSED) is None
    said = told(run, host, SAID)
    assert said
    assert "1. vllm_max_model_len: 121856" in said
    assert "Nothing was changed" not in said


def test_what_was_found_to_fit_is_planned(run: tuple[str, Path]) -> None:
    assert "120000" in outcome(run, "found")["argv"]
    assert outcome(run, "found")["plan"]["fits"]
    assert told(run, "found", SAID) is None


def test_a_shorter_context_does_not_help_weights(run: tuple[str, Path]) -> None:
    said = told(run, "heavy", REFUSED)
    assert said
    assert "No shorter context, smaller KV cache, smaller form of the model or number of hosts up to 8" in said


def test_other_services_take_their_part(run: tuple[str, Path]) -> None:
    said = told(run, "crowded", REFUSED)
    assert said
    assert "(0.01 of 121.7 GiB); vllm-big holds 100.0 GiB, vllm-b holds 10.0 GiB. Nothing was changed" in said
    assert "Choose another model, or give vllm-big, vllm-b less." in said


def test_where_others_leave_nothing_one_line_says_who_they_are(run: tuple[str, Path]) -> None:
    said = told(run, "full", LEFT_NOTHING)
    assert said
    assert "nothing is left for vllm: this host has 121.7 GiB, less 10 GiB of vllm_memory_reserve_gib," in said
    assert "less 112.0 GiB of vllm-big; give vllm-big less. Nothing was changed" in said


def test_what_is_not_of_this_collection_is_found_before_the_download(run: tuple[str, Path]) -> None:
    said = told(run, "ollama", TAKEN_REFUSED)
    assert said
    assert "ollama has 90.0 GiB of memory available, and vllm-qwen3-8b-fp8 needs 109.5 GiB at its start" in said
    assert "set vllm_gpu_memory_utilization to at most 0.73." in said
    assert "Nothing was changed; vllm_enforce_memory_plan: false tries it all the same." in said
    said = told(run, "served_less", TAKEN_REFUSED)
    assert said
    assert "(0.90 of 121.7 GiB), also when what runs of it now has ended." in said


@pytest.mark.parametrize(
    ("host", "needs", "remedy"),
    [
        # 0.75 and what is offloaded; a share of 0.57 leaves room for that
        ("offloading_beside_ollama", "111.3 GiB at its start (0.75 of 121.7 GiB, and 20.0 GiB of offloading)", "0.57."),
        ("cache_beside_ollama", "101.0 GiB at its start (a KV cache of a given size)", "or set a smaller KV cache."),
        ("share_beside_ollama", "109.5 GiB at its start (0.90 of 121.7 GiB)", "0.73."),
    ],
)
def test_what_a_start_needs_is_told_by_its_parts(run: tuple[str, Path], host: str, needs: str, remedy: str) -> None:
    said = told(run, host, TAKEN_REFUSED)
    assert said
    assert f"needs {needs}" in said
    assert remedy in said


def test_memory_is_no_matter_where_nothing_changes(run: tuple[str, Path]) -> None:
    assert outcome(run, "unchanged_beside_ollama")["memory_is_taken"]
    assert told(run, "unchanged_beside_ollama", TAKEN_SAID) is None


@pytest.mark.parametrize("host", ["tried_beside_ollama", "staged_beside_ollama", "foreign_beside_ollama"])
def test_memory_that_may_come_back_is_only_said(run: tuple[str, Path], host: str) -> None:
    assert outcome(run, host)
    said = told(run, host, TAKEN_SAID)
    assert said
    assert "Nothing was changed" not in said
