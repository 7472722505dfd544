# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a log shows by its structure alone: what was relayed, cut off, or switched on, whatever collected it."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.diagnose import diagnose
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.lines import clean, read, undressed
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from ansible_collections.dgxspark.vllm.tests.unit.plugins.module_utils.test__vllm_tracebacks import (
    ENGINE,
    WRAPPER,
    cause,
    trace,
)

RELAYED = trace("KeyError: 'getpwuid(): uid not found: 1042'")


@pytest.mark.parametrize("relay", ["RuntimeError: Error raised in subprocess:", 'foo.RemoteError: \n"""'])
def test_a_traceback_in_the_text_of_an_exception_is_its_cause(relay: str) -> None:
    text = trace(relay) + RELAYED
    assert cause("".join(f"{ENGINE}{line}\n" for line in text.splitlines()) + WRAPPER)[0] == "uid_without_name"


def test_a_traceback_after_an_exception_is_none_of_it() -> None:
    first = trace("torch.OutOfMemoryError: CUDA out of memory.", ENGINE, "EngineCore failed to start.")
    assert cause(first + trace("ValueError: another one", ENGINE) + WRAPPER)[0] == "cuda_oom"


def test_what_cpp_says_at_its_end_is_an_exception() -> None:
    log = (
        "terminate called after throwing an instance of 'c10::Error'\n"
        "  what():  CUDA error: an illegal memory access was encountered\n"
        "(EngineCore pid=1) ERROR 07-23 11:20:36 [multiproc_executor.py:283] Worker proc W-0 died unexpectedly\n"
    )
    assert cause(log + WRAPPER) == ("illegal_access", "what(): CUDA error: an illegal memory access was encountered")
    assert cause(log.replace("CUDA error: an illegal memory access was encountered", "std::bad_alloc"))[0] == "host_oom"


def test_frames_whose_header_was_cut_off() -> None:
    log = trace("AssertionError: foo", ENGINE, path="/x/dist-packages/vllm/v1/spec_decode/eagle.py") + WRAPPER
    found = parse(log.split("\n", 1)[1]).cause
    assert found is not None
    assert (found.evidence, found.certain) == ("AssertionError: foo", False)
    assert "raised in vllm/v1/spec_decode/eagle.py (f)" in found.remedy


def test_what_nccl_writes_into_a_traceback_is_no_part_of_it() -> None:
    noise = "spark01:151:290 [0] NCCL INFO Channel 00/02 : 0 1\n"
    log = trace("ValueError: foo", header="EngineCore failed to start.")
    for line in log.splitlines(keepends=True)[1:]:
        assert cause(log.replace(line, line + noise, 1) + WRAPPER)[1] == "ValueError: foo"


def test_frames_of_a_signal_are_no_exception() -> None:
    dump = 'Fatal Python error: Aborted\n\nThread 0x7 (most recent call first):\n  File "/x/y.py", line 1 in w\n'
    assert parse(f"{dump}foo\n{dump}").problems == []


DUMP = (
    "{}:\n"
    '  File "/usr/lib/python3.12/threading.py", line 359 in wait\n  File "/x/vllm/y.py", line 12 in work\n\n'
    "Extension modules: numpy._core._multiarray_umath, torch._C (total: 2)\n"
)
NOISE = "spark01:151:290 [0] NCCL INFO Channel 00/02 : 0 1\n"


@pytest.mark.parametrize("noise", ["", NOISE])
@pytest.mark.parametrize(
    "head", ["Current thread 0x7f (most recent call first)", "Thread 0x7f [pt_main] (foo first)", ""]
)
@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (
            "not started: 100.0 GiB of memory are needed, 20.0 GiB are available after 9 s; most is held by x",
            "start_memory",
        ),
        (
            "/usr/bin/ld: cannot find -lcuda: No such file\nninja: build stopped: subcommand failed.",
            "linker_library",
        ),
        ("vllm serve: error: unrecognized arguments: --foo", "bad_flag"),
    ],
)
def test_what_follows_the_frames_of_a_signal_is_read(head: str, after: str, expected: str, noise: str) -> None:
    dump = DUMP.format(head).replace("  File", f"{noise}  File")
    assert cause(f"{dump}{after}\n")[0] == expected
    other = DUMP.format("Stack (most recent call first)").replace(" in ", ", in ")
    assert cause(f"{other}{after}\n")[0] == expected
    cut_off = dump.partition(":\n")[2]
    assert cause(f"{cut_off}{after}\n")[0] == expected
    assert cause(trace("ValueError: foo").replace("    g()\n", f"    g()\n{dump}"))[1] == "ValueError: foo"


REQUEST = trace(
    "ValueError: too long", "(APIServer pid=1) ERROR 12-02 10:00:00 [serving.py:1] ", "Error in preprocessing"
)
ORDERLY = "(APIServer pid=1) INFO:     Shutting down\n(APIServer pid=1) INFO:     Application shutdown complete.\n"


def test_a_server_whose_start_was_cut_off() -> None:
    answered = '(APIServer pid=1) INFO:     192.0.2.9:5 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    loggers = "(APIServer pid=1) INFO 12-02 10:00:00 [loggers.py:271] Engine 000: Avg prompt throughput: 0.0 tokens/s\n"
    for serves in (answered, loggers):
        assert diagnose(REQUEST + serves)["verdict"] == "ready"
    assert diagnose(REQUEST + ORDERLY, exit_code=0)["cause"]["id"] == "stopped"
    dead = trace("AttributeError: foo", ENGINE, "EngineCore encountered a fatal error.")
    died = "(APIServer pid=1) ERROR 12-02 10:00:00 [async_llm.py:1] AsyncLLM output_handler failed.\n"
    assert diagnose(REQUEST + dead + died, exit_code=0)["cause"]["id"] == "engine_dead"
    # a start that is seen is judged as one
    banner = "(APIServer pid=1) INFO 12-02 09:00:00 [x.py:1] vLLM API server version 0.24.0\n"
    assert diagnose(banner + REQUEST + ORDERLY, exit_code=1)["phase"] == "container"


INIT = "(EngineCore pid=1) INFO 12-02 09:00:00 [core.py:1] init engine (profile, create kv cache) took 9.00 s\n"
THROUGHPUT = "(APIServer pid=1) INFO 12-02 10:00:00 [loggers.py:1] Engine 000: Avg prompt throughput: 0.0 tokens/s\n"
ACCESS = '(APIServer pid=1) INFO:     192.0.2.9:5 - "GET /health HTTP/1.1" 200 OK\n'


def test_an_engine_that_dies_before_it_serves() -> None:
    dead = trace("AttributeError: foo", ENGINE, "EngineCore encountered a fatal error.")
    died = "(APIServer pid=1) ERROR 12-02 10:00:00 [async_llm.py:1] AsyncLLM output_handler failed.\n"
    found = diagnose(INIT + dead + died, exit_code=1)["cause"]
    assert (found["id"], found["evidence"]) == ("vllm_fault", "AttributeError: foo")
    assert "while it served" not in found["meaning"]
    found = diagnose(INIT + ACCESS + dead + died, exit_code=1)["cause"]
    assert (found["id"], found["evidence"]) == ("engine_dead", "AttributeError: foo")
    assert "while it served" in found["meaning"]


@pytest.mark.parametrize("serves", [THROUGHPUT, ACCESS])
def test_a_server_whose_own_log_is_off_has_survived_its_start(serves: str) -> None:
    lora = "(APIServer pid=1) ERROR 12-02 09:00:01 [serving_models.py:1] Failed to load LoRA adapter foo\n"
    survived = trace("PermissionError: [Errno 13] Permission denied: '/x'", ENGINE) + lora + INIT
    assert diagnose(survived, exit_code=1)["cause"]["id"] != "exited_after_ready"
    assert diagnose(survived + serves, exit_code=1)["cause"]["id"] == "exited_after_ready"
    assert diagnose(survived + serves)["verdict"] == "ready"


CONFIG = "(EngineCore pid=1) INFO 12-02 09:00:00 [core.py:1] Initializing a V1 LLM engine (v0.24.0) with config: {}\n"
ARGUMENTS = "(APIServer pid=1) INFO 12-02 09:00:00 [api_utils.py:240] non-default args: {{'model': 'x', {}}}\n"


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ("speculative_config=SpeculativeConfig(method='mtp')", "drop speculative_config"),
        ("'speculative_config': {'method': 'mtp'}", "drop speculative_config"),
        ("kv_transfer_config=KVTransferConfig(kv_connector='x')", "remove kv_transfer_config"),
        ("'speculative_config': SpeculativeConfig(method='mtp')", "drop speculative_config"),
        ("'kv_transfer_config': KVTransferConfig(kv_connector='x')", "remove kv_transfer_config"),
        ("'kv_offloading_size': 32.0", "remove kv_transfer_config"),
        ("speculative_config=None, kv_transfer_config=None", ""),
        ("'kv_offloading_size': None, 'kv_transfer_config': None", ""),
    ],
)
def test_a_part_that_the_start_used_is_the_first_suspect(config: str, advice: str) -> None:
    fault = trace("AssertionError", ENGINE, "EngineCore failed to start.") + WRAPPER
    for line in (CONFIG, ARGUMENTS):
        found = parse(line.format(config) + fault).cause
        assert found is not None
        assert ("because this start used" in found.remedy) == bool(advice)
        assert found.remedy.startswith(advice or "No signature")
    known = parse(CONFIG.format(config) + fault.replace("AssertionError", "torch.OutOfMemoryError: x")).cause
    assert known is not None
    assert "this start used" not in known.remedy


@pytest.mark.parametrize("before", ["", INIT + ACCESS, "INFO:     Application startup complete.\n"])
def test_a_request_switches_no_part_on(before: str) -> None:
    quoted = (
        'INFO 12-02 10:00:00 [logger.py:1] Received request x: prompt: \'non-default args: {"kv_offloading_size": 1}'
    )
    quoted += (
        ', Initializing a V1 LLM engine (v0.24.0) with config: "speculative_config": {"method": 1}\', params: {}\n'
    )
    assert parse(before + quoted).uses == set()


def test_what_was_about_to_be_processed_tells_the_options_too() -> None:
    dumped = CONFIG.replace("INFO", "ERROR").replace("Initializing a", "Dumping input data for")
    ready = "INFO:     Application startup complete.\n"
    assert parse(ready + dumped.format("speculative_config=SpeculativeConfig(x)")).uses == {"speculative decoding"}


@pytest.mark.parametrize("serves", ["", "(APIServer pid=1) INFO:     Application startup complete.\n"])
def test_a_crash_without_a_word_suspects_the_part_that_the_start_used(serves: str) -> None:
    config = CONFIG.format("speculative_config=SpeculativeConfig(method='mtp')")
    found = diagnose(config + serves, exit_code=139)["cause"]
    assert found["id"] == "crashed"
    assert found["remedy"].startswith("drop speculative_config from vllm_extra_args first, because this start used")
    assert "because this start used" not in diagnose(CONFIG + serves, exit_code=139)["cause"]["remedy"]
    assert "because this start used" not in diagnose(config + serves, exit_code=137)["cause"]["remedy"]


def test_a_prefix_that_nobody_knows() -> None:
    log = trace("ValueError: foo", ENGINE, "EngineCore failed to start.") + WRAPPER
    for prefix in ("<14> gpu7 => ", "\t", "2026/11/28-06:12:07.5 [vllm] "):
        assert undressed("".join(f"{prefix}{line}\n" for line in log.splitlines())) == log
    some = log.replace(ENGINE, f"x {ENGINE}", 1)  # not of most lines
    assert undressed(some) == some
    assert undressed("foo bar\nfoo baz\n") == "foo bar\nfoo baz\n"
    numbered = "".join(f"{number:5}  {line}\n" for number, line in enumerate(log.splitlines(), 8))
    assert undressed(numbered) == log


def test_the_rank_stands_before_the_process() -> None:
    """A launcher puts it there, whatever vLLM writes."""
    log = trace("ValueError: foo", ENGINE, "EngineCore failed to start.") + WRAPPER
    ranked = "".join(f"[rank0]: {line}\n" for line in log.splitlines())
    assert diagnose(ranked)["cause"] == diagnose(log)["cause"]
    assert read(f"[rank1]:{ENGINE}foo").process == read(f"{ENGINE}foo").process


@pytest.mark.parametrize("tail", ["", " component=vllm"])
def test_a_collector_that_quotes_what_was_said(tail: str) -> None:
    log = trace('ValueError: "foo" is no C:\\bar', ENGINE, "EngineCore failed to start.") + WRAPPER
    quoted = [line.replace("\\", "\\\\").replace('"', '\\"') for line in log.splitlines()]
    lines = "".join(f'time="2026-01-29T14:55:54Z" level=info msg="{line}"{tail}\n' for line in quoted)
    assert diagnose(lines)["cause"] == diagnose(log)["cause"]
    assert clean('level=info msg="foo\nbar') == 'level=info msg="foo\nbar'


def test_code_of_a_trace_that_was_cut_off_says_nothing() -> None:
    log = ENGINE + '    raise RuntimeError("CUDA out of memory")\n' + ENGINE + "EngineCore exits\n"
    assert parse(log).cause is None
    assert parse(ENGINE + "RuntimeError: CUDA out of memory\n").cause is not None


def test_what_is_wrong_with_an_option_is_told_in_the_next_lines() -> None:
    error = "vllm serve: error: argument --foo/-f: 1 validation error for FooConfig\n"
    more = "  bar\n    Input should be an object [type=dataclass_type, input_value=3]\n    For further information\n"
    for prefix in ("", "2026-11-28T06:12:05.123456789Z "):
        found = diagnose("".join(f"{prefix}{line}\n" for line in (error + more).splitlines()), exit_code=2)["cause"]
        assert (found["id"], found["certain"]) == ("bad_flag", True)
        assert found["meaning"].endswith(
            "for FooConfig bar Input should be an object [type=dataclass_type, input_value=3]"
        )
    assert diagnose(error, exit_code=2)["cause"]["meaning"].endswith("1 validation error for FooConfig")


def test_an_error_that_vllm_says_it_ignored_ends_no_start() -> None:
    said = "gloo/transport/tcp/unbound_buffer.cc:129] Timed out waiting 1800000ms for send operation to complete\n"
    log = f"{ENGINE}Error ignored in is_in_the_same_node: [{said}"
    assert diagnose(log, running=True)["verdict"] == "loading"
    assert (
        diagnose(log + trace(f"RuntimeError: [{said}", ENGINE, "WorkerProc failed to start."))["cause"]["id"]
        == "gloo_silent"
    )


def test_the_output_of_a_compiler_tells_why() -> None:
    said = ("RuntimeError: Ninja build failed. Ninja output:", "[1/2] c++ -c a.cpp", "a.cpp:3:1: error: no foo here")
    log = trace(f"\n{ENGINE}".join(said), ENGINE, "EngineCore failed to start.") + WRAPPER
    found = diagnose(log)["cause"]
    assert (found["id"], found["evidence"]) == ("helper_not_compiled", said[-1])
