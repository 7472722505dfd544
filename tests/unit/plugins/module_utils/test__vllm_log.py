# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.text import mask
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.lines import clean
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import PHASES, LogState, parse
from hypothesis import given
from hypothesis import strategies as st
from recorded_logs import FIXTURES, LOGS, read

# file, phase, the log alone proves the failure, cause, a piece of the remedy
RECORDED = [
    ("startup_ok.log", "ready", False, None, ""),
    ("bench_srv.log", "ready", False, None, ""),
    ("bench.log", "container", False, None, ""),
    ("engine_killed.log", "ready", False, "engine_dead", "dmesg"),
    ("kill.log", "ready", False, "engine_dead", "dmesg"),
    ("stopped_engine_dead.log", "ready", False, None, ""),
    ("badconfig.log", "container", True, "config_corrupt", "hf_cache_path"),
    ("badquant.log", "container", True, "unknown_quant", "vllm_extra_args"),
    ("quantarg.log", "container", True, "unknown_quant", "vllm_extra_args"),
    ("dangling.log", "load", True, "dangling_symlink", "hf_cache_path"),
    ("kvsmall.log", "container", True, "config_rejected", "vllm_extra_env"),
    ("kvsmall3.log", "load", True, "kv_too_small", "set vllm_max_model_len to 1728"),
    ("maxlen.log", "container", True, "max_len_gt_model", "set vllm_max_model_len to 4096 or less"),
    ("missingshard.log", "load", True, "weights_missing_shard", "vllm_hf_offline"),
    ("netdown.log", "container", False, "hf_network", "vllm_hf_endpoint"),
    ("noweights.log", "load", True, "weights_missing", "vllm_hf_offline"),
    ("offline.log", "container", False, "hf_offline_missing", "vllm_hf_offline: false"),
    ("portinuse.log", "container", True, "addr_in_use", "vllm_port"),
    ("remotecode.log", "container", False, "trust_remote_code", "trust_remote_code: true in vllm_extra_args"),
    ("truncated.log", "load", True, "weights_truncated", "hf_cache_path"),
    ("unknownflag.log", "container", True, "bad_flag", "vllm_extra_args"),
    ("unsup.log", "container", True, "arch_unsupported", "vllm_image"),
    ("zeroheader.log", "load", True, "weights_truncated", "hf_cache_path"),
]


@pytest.mark.parametrize(("name", "phase", "failed", "cause", "remedy"), RECORDED)
def test_recorded_log(name: str, phase: str, failed: bool, cause: str | None, remedy: str) -> None:
    state = parse(read(name))
    assert (state.phase, state.failed, state.cause.id if state.cause else None) == (phase, failed, cause)
    if state.cause:
        assert remedy in state.cause.remedy
        assert state.cause.evidence
        assert "?" not in state.cause.meaning + state.cause.remedy


def test_every_recorded_log_is_expected() -> None:
    assert {path.name for path in LOGS.glob("*.log")} == {row[0] for row in RECORDED}


def test_numbers_of_a_start_on_032() -> None:
    state = parse(read("startup_ok.log"))
    assert state.version == "0.32.0"
    assert state.max_model_len == 2048
    assert (state.shards_done, state.shards_total) == (1, 1)
    assert state.kv_cache_tokens == 2_097_152
    assert state.max_concurrency == 1024.0
    assert state.ready
    assert "shutdown" in state.shutdown.lower()


def test_numbers_of_a_start_on_010() -> None:
    state = parse((FIXTURES / "0.10.1.1" / "startup.log").read_text())
    assert state == LogState(
        phase="ready",
        version="0.10.1.1+381074ae.nv25.09",
        max_model_len=32768,
        shards_done=2,
        shards_total=2,
        weights_gib=8.8011,
        compile_seconds=33.83,
        kv_cache_tokens=623_104,
        max_concurrency=19.02,
        request_tokens=32768,
        capture_done=19,
        capture_total=19,
        capture_seconds=5.0,
        ready=True,
        last_line="(APIServer pid=1) INFO:     Application startup complete.",
        lines=37,
    )


def test_a_cache_of_several_groups_of_layers() -> None:
    """Before 0.21 vLLM divides the blocks by the number of groups; what holds is requests x context."""
    told = parse(
        "INFO GPU KV cache size: 177,440 tokens\nINFO Maximum concurrency for 8,192 tokens per request: 35.75x\n"
    )
    assert told.kv_cache_tokens == 292_864
    newer = parse("INFO GPU KV cache size: 292,890 tokens, Maximum concurrency for 8,192 tokens per request: 35.75x\n")
    assert newer.kv_cache_tokens == 292_890


def test_phases_come_in_order() -> None:
    lines = (FIXTURES / "0.10.1.1" / "startup.log").read_text().splitlines()
    phases = [parse("\n".join(lines[:count])).phase for count in range(len(lines) + 1)]
    assert list(dict.fromkeys(phases)) == [phase for phase in PHASES if phase != "download"]


@pytest.mark.parametrize(
    ("last", "done"),
    [("  50% Completed | 1/2", (1, 2)), (" 100% Completed | 2/2", (2, 2))],
)
def test_shards_of_a_load_that_goes_on(last: str, done: tuple[int, int]) -> None:
    text = (FIXTURES / "0.10.1.1" / "startup.log").read_text()
    state = parse(text[: text.index(last) + len(last)])
    assert (state.phase, state.shards_done, state.shards_total) == ("load", *done)


def test_shards_of_other_loaders() -> None:
    state = parse("Loading safetensors using Runai Model Streamer:  25% Completed | 1/4 [00:01<00:03,  1.1s/it]")
    assert (state.shards_done, state.shards_total) == (1, 4)


def test_kv_cache_and_concurrency_in_one_line() -> None:
    state = parse(
        "(EngineCore pid=7) INFO 11-23 09:33:36 [kv_cache_utils.py:2327] GPU KV cache size: 623,104 tokens,"
        " Maximum concurrency for 32,768 tokens per request: 19.02x"
    )
    assert (state.kv_cache_tokens, state.max_concurrency) == (623_104, 19.02)


def test_compilation_of_032_in_the_line_of_the_engine() -> None:
    line = "(EngineCore pid=7) INFO 11-23 09:33:36 [core.py:402] init engine (profile, create kv cache, warmup model)"
    assert parse(f"{line} took 60.87 s (compilation: 34.20 s)").compile_seconds == 34.2


def test_only_the_last_attempt_counts() -> None:
    state = parse(read("truncated.log") + read("startup_ok.log")[:3000])
    assert (state.failed, state.cause, state.shards_total, state.version) == (False, None, None, "0.32.0")


def test_the_orderly_end_before_is_not_of_this_attempt() -> None:
    """A killed container says only when it ended: its log is read from a little before its start."""
    stopped = "(APIServer pid=1) INFO 11-29 03:10:02 [launcher.py:110] Shutting down FastAPI HTTP server.\n"
    assert parse(stopped).shutdown
    assert not parse(stopped + read("startup_ok.log")[:3000]).shutdown


@pytest.mark.parametrize(
    "told", ["[shutdown] EngineCore: trigger received signal=SIGTERM", "Shutdown initiated (timeout=0)"]
)
def test_an_engine_that_is_ended_before_the_server_is_ready(told: str) -> None:
    """The API server may end it, and prints why only after that; where it prints nothing, it was an order."""
    begin = "(APIServer pid=1) INFO 11-29 03:10:01 [api_server.py:1351] vLLM API server version 0.29.0\n"
    engine = f"(EngineCore pid=120) INFO 11-29 03:10:02 [core.py:1313] {told}\n"
    failure = (
        "(APIServer pid=1) Traceback (most recent call last):\n"
        '(APIServer pid=1)   File "/x/dist-packages/vllm/entrypoints/openai/api_server.py", line 7, in build_app\n'
        "(APIServer pid=1) ModuleNotFoundError: No module named 'my_middleware'\n"
    )
    assert parse(begin + engine).order() == told
    assert parse(begin + failure + engine).order() == ""
    failed = parse(begin + engine + failure)
    assert failed.order() == ""
    assert failed.cause is not None
    assert failed.cause.id == "python_module"


QUOTED = [
    "Launching vLLM (v0.24.0) headless multiproc executor",
    "vLLM API server version 0.24.0",
    "█  version 0.24.0",
    "I received SIGTERM",
    '"GET /x HTTP/1.1"',
]
LOGGED = [
    "[logger.py:40] Received request cmpl-1: prompt: '{}', params: SamplingParams(n=1)",
    "[logger.py:40] Received request cmpl-1: prompt: '{}",
    "[logger.py:77] Generated response cmpl-1: output: '{}', output_token_ids: None, finish_reason: stop",
    "[logger.py:46] Request cmpl-1 details: prompt: '{}', prompt_token_ids: None",
]


@pytest.mark.parametrize("quoted", QUOTED)
@pytest.mark.parametrize("logged", LOGGED)
def test_what_a_request_quotes_is_no_start_and_no_end(logged: str, quoted: str) -> None:
    served = read("startup_ok.log").split("[shutdown]")[0].rpartition("\n")[0] + "\n"
    before = parse(served)
    after = parse(f"{served}(APIServer pid=9) INFO 11-23 09:34:30 {logged.format(quoted)}\n")
    assert before.ready
    assert (after.version, after.ready, after.headless, after.order()) == ("0.32.0", True, False, "")
    assert after.kv_cache_tokens == before.kv_cache_tokens


@pytest.mark.parametrize("said", QUOTED[:3])
def test_another_program_that_names_vllm_begins_no_start(said: str) -> None:
    served = parse(read("startup_ok.log")[:3000] + f"INFO 11-23 09:34:30 [x.py:1] told: {said}\n")
    assert (served.version, served.headless) == ("0.32.0", False)


def test_banner_of_the_image_belongs_to_the_attempt() -> None:
    banner = "       version 550.54 was detected and compatibility mode is UNAVAILABLE.\n"
    cause = parse(banner + read("startup_ok.log")[:3000]).cause
    assert cause is not None
    assert cause.id == "nvidia_banner_old_driver"


def test_what_a_ready_server_survived_is_forgotten_and_what_follows_is_no_proof() -> None:
    ready = "INFO:     Application startup complete.\n"
    assert parse("ERROR 11-23 09:33:36 [x.py:1] RuntimeError: Error Internal\n" + ready).cause is None
    state = parse(ready + "ERROR 11-23 09:33:36 [x.py:1] torch.OutOfMemoryError: CUDA out of memory\n")
    assert state.cause is not None
    assert (state.failed, state.cause.id) == (False, "cuda_oom")


def test_colors_and_carriage_returns() -> None:
    progress_bar = (
        "\rLoading safetensors checkpoint shards:   0% Completed | 0/2\rLoading safetensors checkpoint shards:  50% "
    )
    state = parse(f"\x1b[1;36m(Worker pid=3)\x1b[0;0m {progress_bar}Completed | 1/2\r\n")
    assert (state.shards_done, state.shards_total, state.lines) == (1, 2, 3)


def test_secrets_are_masked() -> None:
    state = parse("OSError: x\nPermissionError: [Errno 13] Permission denied: '/hf_AbC123/x' for hf_XyZ987\n")
    assert state.cause is not None
    assert "AbC123" not in str(state)
    assert "XyZ987" not in str(state)
    assert mask("vllm_hf_token: hf_AbC123, key: s3cret", "s3cret") == "vllm_hf_token: hf_***, key: ***"
    assert mask("no key", None, "") == "no key"


def test_what_a_request_met_is_not_what_ended_the_server() -> None:
    ready = "INFO:     Application startup complete.\n"
    request = (
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url\n"
    )
    state = parse(ready + request + "EngineDeadError: EngineCore encountered an issue.\n")
    assert state.cause is not None
    assert state.cause.id == "engine_dead"


HUGE = {
    "tracebacks": read("truncated.log"),
    "starts": read("startup_ok.log"),
    "requests": 'INFO:     127.0.0.1:47194 - "GET /health HTTP/1.1" 200 OK\n',
    "errors": "ERROR 11-23 09:37:05 [x.py:1] something is wrong, and nobody knows what it may be, but it is\n",
    "one line": "x" * 1000,
    "logfmt": 'time="2026-01-29T14:55:54Z" level=info msg="  File \\"/x/foo.py\\", line 3" component=vllm\n',
}


@pytest.mark.parametrize("name", HUGE)
def test_fifty_megabytes_take_less_than_two_seconds(name: str) -> None:
    text = HUGE[name] * (50_000_000 // len(HUGE[name]))
    begin = time.process_time()
    parse(text)
    assert time.process_time() - begin < 2


def test_huge_log_keeps_its_beginning_and_its_end() -> None:
    noise = 'INFO:     127.0.0.1:47194 - "GET /health HTTP/1.1" 200 OK\n' * 200_000
    state = parse(
        read("startup_ok.log").split("[shutdown]")[0] + noise + "torch.OutOfMemoryError: CUDA out of memory\n"
    )
    assert (state.ready, state.kv_cache_tokens) == (True, 2_097_152)
    assert state.cause is not None
    assert state.cause.id == "cuda_oom"
    assert len(clean(noise)) < len(noise)


SAMPLES = yaml.safe_load((FIXTURES / "causes.yml").read_text())
LINES = [entry["line"] for found in SAMPLES.values() for entry in found["match"]]

pieces = st.sampled_from(LINES + [line for line in read("truncated.log").splitlines() if line])


@given(st.lists(st.one_of(st.text(max_size=80), pieces), max_size=30).map("\n".join))
def test_no_text_makes_it_raise(text: str) -> None:
    state = parse(text)
    assert state.phase in PHASES
    assert state.cause is None or state.cause.meaning


@given(pieces, st.integers(0, 400), st.integers(0, 400))
def test_no_torn_line_makes_it_raise(line: str, begin: int, end: int) -> None:
    assert parse(line[begin:end]).lines <= 1 + line.count("\n")
