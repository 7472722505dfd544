# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root cause by structure: which process, which exception first, chained from what, survived or not."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.lines import Line, read
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import LogState, parse, recognize
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.tracebacks import every
from hypothesis import given
from hypothesis import strategies as st

LOGS = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm"
HEALTHY = [
    "0.10.1.1/startup.log",
    "0.24/gemma3-4b-shape_ready.log",
    "0.24/qwen3-8b-fp8_kv-fp8_ready.log",
    "0.24/qwen3-8b-fp8_throughput_ready.log",
    "0.32/startup_ok.log",
    "0.32/bench_srv.log",
]
ENGINE = "(EngineCore pid=12) ERROR 01-28 06:36:45 [core.py:946] "
WRAPPER = "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"


def trace(exception: str, prefix: str = "", header: str = "", path: str = "/x/vllm/y.py") -> str:
    lines = ([header] if header else []) + [
        "Traceback (most recent call last):",
        f'  File "{path}", line 3, in f',
        "    g()",
        exception,
    ]
    return "".join(f"{prefix}{line}\n" for line in lines)


def cause(text: str) -> tuple[str, str]:
    found = parse(text).cause
    assert found is not None
    return found.id, found.evidence


# --- lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", Line("plain")),
        ('  File "/x.py", line 1', Line('  File "/x.py", line 1')),
        ("INFO:     Application startup complete.", Line("Application startup complete.", "", "INFO")),
        (f"{ENGINE}  File", Line("  File", "EngineCore pid=12", "ERROR", True, "core.py:946")),
        (
            "(EngineCore pid=1) (RayWorkerWrapper pid=2, ip=192.0.2.7) ERROR 11-24 22:55:35 [v1/worker/x.py:620] y",
            Line("y", "RayWorkerWrapper pid=2, ip=192.0.2.7", "ERROR", True, "v1/worker/x.py:620"),
        ),
        (
            "vllm-1  | WARNING 11-24 22:55:35 worker_base.py:620] y",
            Line("y", "", "WARNING", True, "worker_base.py:620"),
        ),
        ("2026-11-28T06:12:05.123Z INFO 11-24 22:55:35 [x.py:1] y", Line("y", "", "INFO", True, "x.py:1")),
        ("Nov 28 06:12:05 spark01 docker[812]: vllm-1  | y", Line("y")),
        ("2026-01-06 23:27:37.175639 master-0 >> (Worker pid=1) y", Line("y", "Worker pid=1")),
        ("2026-01-06T23:27:37.175639123Z stderr F   y", Line("  y")),
        ("2026-01-06T23:27:37.175639+01:00 spark01 dockerd[812]: INFO:     y", Line("y", "", "INFO")),
        ("6月 10 16:45:05 spark01 bash[7]: y", Line("y")),
        ("märz 10 16:45:05 spark01 bash[7]: y", Line("y")),
        ("2026-11-28 06:12:05 | ERROR | stderr | y", Line("y")),
        ("[rank0]:[E1128 06:12:54.074576393 ProcessGroupNCCL.cpp:629] y", Line("y", "rank0", "ERROR", True)),
        ("[W1128 06:12:54.074576393 socket.cpp:207] [c10d] y", Line("[c10d] y", "", "WARNING", True)),
        ("W1123 09:34:53.685000 910 torch/_library/triton.py:53] y", Line("y", "", "WARNING", True)),
        ("[rank0]: Traceback (most recent call last):", Line("Traceback (most recent call last):", "rank0")),
        ('  |   File "/x.py", line 1, in f', Line('  File "/x.py", line 1, in f')),
        ("(no process) y", Line("(no process) y")),
        ("2025-11-02 13:17:04,315 - vllm.v1.engine.core - ERROR - y", Line("y", "", "ERROR", True)),
        ("vllm.core - ERROR - y", Line("vllm.core - ERROR - y")),
    ],
)
def test_a_line_without_what_stands_before_it(text: str, line: Line) -> None:
    assert read(text) == line


@given(st.text(max_size=200))
def test_no_line_makes_it_raise(text: str) -> None:
    assert text.endswith(read(text).message)


# --- exceptions ----------------------------------------------------------------------------------------------------


def problems(text: str) -> list[tuple[str, str, list[str]]]:
    found = every(parse(text).problems)
    return [(one.process, one.evidence, [member.name for member in one.chain()]) for one in found]


def test_source_code_is_no_error() -> None:
    text = trace("ValueError: bad", ENGINE).replace("    g()", '    raise RuntimeError("CUDA out of memory")')
    assert problems(text) == [("EngineCore pid=12", "ValueError: bad", ["ValueError"])]


def test_exceptions_of_processes_that_write_at_the_same_time() -> None:
    one = trace("ValueError: one", "(A pid=1) ").splitlines()
    two = trace("KeyError: 'two'", "(B pid=2) ").splitlines()
    text = "\n".join(line for pair in zip(one, two, strict=True) for line in pair)
    assert [found[:2] for found in problems(text)] == [("A pid=1", "ValueError: one"), ("B pid=2", "KeyError: 'two'")]


LOADED = trace("AssertionError: Attempted to load weight (1) into parameter (2)", ENGINE) + WRAPPER


@pytest.mark.parametrize("prefix", ["2026-01-06 23:27:37.175 node >> ", "2026-01-06T23:27:37Z stderr F "])
def test_the_log_of_a_collector_is_read_like_any_other(prefix: str) -> None:
    text = "".join(f"{prefix}{line}\n" for line in LOADED.splitlines())
    assert cause(text)[1] == "AssertionError: Attempted to load weight (1) into parameter (2)"


@pytest.mark.parametrize(
    ("entry", "key", "end"),
    [
        ({"stream": "stderr"}, "log", "\n"),  # the file in which Docker keeps a log
        ({"time": "2026-01-06T23:27:37Z", "stream": "stderr"}, "log", ""),
        ({"PRIORITY": "6", "_PID": "812"}, "MESSAGE", ""),
        ({"ts": 1767742057.1}, "msg", ""),
    ],
)
def test_a_log_that_is_kept_as_json(entry: dict[str, t.Any], key: str, end: str) -> None:
    """Its last line was torn."""
    text = "".join(json.dumps({**entry, key: f"{line}{end}"}) + "\n" for line in LOADED.splitlines()) + '{"log": "to'
    assert cause(text)[1] == "AssertionError: Attempted to load weight (1) into parameter (2)"


def test_a_log_that_vllm_writes_as_json() -> None:
    def line(level: str, said: str, **more: str) -> str:
        return json.dumps({"asctime": "2026-01-06", "levelname": level, "message": said, **more}) + "\n"

    start = line("INFO", "vLLM API server version 0.32.0") + line("INFO", "Starting to load model org/model...")
    failed = line("ERROR", "EngineCore failed to start.", exc_info=trace("KeyError: 'x'"))
    assert (parse(start).version, parse(start).phase) == ("0.32.0", "load")
    assert cause(start + failed)[1] == "KeyError: 'x'"
    assert parse(start + line("INFO", "Application startup complete.")).ready


def test_what_an_exception_was_raised_from_explains_it() -> None:
    direct = "\nThe above exception was the direct cause of the following exception:\n\n"
    during = "\nDuring handling of the above exception, another exception occurred:\n\n"
    text = trace("KeyError: 'a'") + direct + trace("ValueError: b") + during + trace("OSError: c")
    # c replaced b, and b came from a
    assert problems(text) == [("", "OSError: c", ["OSError", "KeyError", "ValueError"])]
    assert cause(trace("httpx.ConnectError: [Errno -2] Name or service not known") + direct + trace("OSError: x"))[
        0
    ] == ("hf_network")


def test_the_text_of_an_exception_may_have_lines() -> None:
    text = trace(
        "x.ValidationError: 1 validation error for CacheConfig\nblock_size\n  Input should be 16 [type=x]", ENGINE
    )
    text = text.replace("\nblock_size\n", f"\n{ENGINE}block_size\n{ENGINE}").replace("\n  Input", f"\n{ENGINE}  Input")
    found = cause(text + WRAPPER)
    assert found[0] == "option_range"
    assert "block_size" in found[1]


def test_an_exception_that_announces_another_one() -> None:
    text = trace("torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:", ENGINE)
    text += f"{ENGINE}RuntimeError: Failed to find C compiler. Please specify via CC\n"
    assert len(problems(text)) == 1
    assert cause(text + WRAPPER)[0] == "c_compiler_missing"


def test_the_traceback_of_another_process_that_ray_quotes() -> None:
    text = (
        trace("ray.exceptions.RayTaskError(KeyError): ray::RayWorkerWrapper.execute_method() (pid=1672)", ENGINE)
        + f'{ENGINE}  File "/x/vllm/worker.py", line 4, in load_model\n{ENGINE}    x()\n'
        + f"{ENGINE}KeyError: 'layers.0.mlp.weight_scale'\n"
    )
    assert cause(text + WRAPPER) == ("weights_key", "KeyError: 'layers.0.mlp.weight_scale'")


def test_a_wrapper_that_quotes_is_used_where_there_is_nothing_else() -> None:
    quote = (
        "RuntimeError: Worker failed with error 'CUDA error: an illegal memory access was encountered', please check"
    )
    text = trace(f"{quote} the stack trace above for the root cause", ENGINE, "EngineCore failed to start.")
    assert cause(text + WRAPPER)[0] == "illegal_access"
    worker = trace("ValueError: foo", "(Worker pid=9) ERROR 01-28 06:36:44 [x.py:1] ", "WorkerProc failed to start.")
    assert cause(worker + text + WRAPPER)[1] == "ValueError: foo"


def test_an_exception_group() -> None:
    text = (
        "  + Exception Group Traceback (most recent call last):\n"
        '  |   File "/x/starlette/y.py", line 3, in f\n  |     g()\n'
        "  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)\n"
        "  +-+---------------- 1 ----------------\n"
        '    | Traceback (most recent call last):\n    |   File "/x/y.py", line 3, in f\n    |     g()\n'
        "    | KeyError: 'x'\n    +------------------------------------\n"
    )
    assert [found[1] for found in problems(text)][-1] == "KeyError: 'x'"


# --- what was survived -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Exception in thread Thread-1 (_report_usage_worker):",
        "Exception ignored in: <function Foo.__del__ at 0x7f>",
        "Task exception was never retrieved",
        "Failed to use foo, falling back to bar",
    ],
)
def test_what_was_survived_is_no_cause(header: str) -> None:
    survived = trace("PermissionError: [Errno 13] Permission denied: '/.config'", "(EngineCore pid=12) ", header)
    fatal = trace("ValueError: No available memory for the cache blocks.", ENGINE, "EngineCore failed to start.")
    assert cause(survived + fatal + WRAPPER)[0] == "kv_none"
    assert cause(survived + trace("FooError: x", ENGINE, "EngineCore failed to start.") + WRAPPER)[1] == "FooError: x"
    assert not parse(survived).failed


def test_a_warning_with_a_traceback_is_no_cause() -> None:
    warned = trace("RuntimeError: Error Internal", "(EngineCore pid=12) WARNING 01-28 06:36:45 [x.py:1] ")
    assert parse(warned).cause is None
    assert cause(warned + trace("FooError: x", ENGINE, "EngineCore failed to start.") + WRAPPER)[1] == "FooError: x"


def test_what_is_only_logged_proves_no_end() -> None:
    logged = trace("RuntimeError: Error Internal", "(EngineCore pid=12) ERROR 01-28 06:36:45 [x.py:1] ", "Cannot do x")
    assert not parse(logged).failed
    died = trace("FooError: x", ENGINE, "EngineCore failed to start.")
    assert cause(logged + died)[1] == "RuntimeError: Error Internal"  # nothing is known of the other one
    known = trace("AttributeError: 'X' object has no attribute 'y'", ENGINE, "EngineCore failed to start.")
    assert cause(logged + known)[1] == "AttributeError: 'X' object has no attribute 'y'"


def test_what_other_processes_raise_when_one_has_ended() -> None:
    first = trace("EOFError: ", "(Worker pid=8) ERROR 01-28 06:36:45 [x.py:1] ", "WorkerProc hit an exception.")
    root = trace(
        "KeyError: 'layers.3.weight_scale'",
        "(Worker pid=9) ERROR 01-28 06:36:46 [x.py:1] ",
        "WorkerProc hit an exception.",
    )
    assert cause(first + root + WRAPPER)[0] == "weights_key"


def test_what_follows_from_another_end_is_told_where_there_is_nothing_else() -> None:
    died = "ray.exceptions.ActorDiedError: The actor died unexpectedly: its node has died."
    assert cause(trace(died, ENGINE, "EngineCore failed to start.") + WRAPPER)[0] == "ray_connect"
    gone = "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [192.0.2.3]:1"
    assert cause(trace(gone, ENGINE, "EngineCore failed to start.") + WRAPPER)[0] == "nccl_peer_lost"


# --- start, serving, request, shutdown --------------------------------------------------------------------------------

READY = "(APIServer pid=1) INFO:     Application startup complete.\n"
REQUEST = trace(
    "ValueError: bad prompt",
    "(APIServer pid=1) ERROR 12-02 10:00:00 [serving_chat.py:222] ",
    "Error in preprocessing prompt inputs",
)
ASGI = "ERROR:    Exception in ASGI application\n" + trace("TypeError: x", path="/x/starlette/routing.py")
STOP = "(APIServer pid=1) INFO:     Shutting down\n"
DEATH = "(APIServer pid=1) ERROR 12-02 10:00:00 [async_llm.py:551] vllm.v1.engine.exceptions.EngineDeadError: x\n"
FATAL = trace("AttributeError: 'X' object has no attribute 'y'", ENGINE, "EngineCore encountered a fatal error.")


@pytest.mark.parametrize("request_error", [REQUEST, ASGI])
def test_a_request_error_is_no_cause(request_error: str) -> None:
    for end in ("", STOP):
        state = parse(READY + request_error + end)
        assert (state.failed, state.died, state.cause) == (False, False, None)
    assert cause(READY + request_error + FATAL + DEATH + STOP)[1] == "AttributeError: 'X' object has no attribute 'y'"


def test_an_error_of_the_engine_that_was_survived_is_no_cause_of_an_orderly_end() -> None:
    lora = trace(
        "ValueError: bad adapter", "(Worker pid=9) ERROR 12-02 10:00:00 [x.py:1] ", "WorkerProc hit an exception."
    )
    state = parse(READY + lora + STOP)
    assert (state.died, state.cause) == (False, None)


def test_a_stop_while_it_starts() -> None:
    start = "(APIServer pid=1) INFO 11-23 09:33:36 [x.py:1] Starting to load model x...\n"
    told = "(APIServer pid=1) INFO 11-23 09:33:36 [launcher.py:1] [shutdown] API server: shutdown triggered\n"
    state = parse(start + told + trace("RuntimeError: Error Internal", ENGINE, "EngineCore failed to start."))
    assert "shutdown triggered" in state.shutdown
    assert state.cause is None
    interrupted = trace("KeyboardInterrupt: terminated", "(APIServer pid=1) ")
    assert cause(start + interrupted + WRAPPER)[0] == "stopped"
    follows = trace("BrokenPipeError: [Errno 32] Broken pipe", "(EngineCore pid=12) ERROR 12-02 10:00:00 [x.py:1] ")
    assert cause(start + follows + interrupted)[0] == "stopped"
    failed = trace("RuntimeError: Error Internal", ENGINE, "EngineCore failed to start.")
    assert cause(start + failed + interrupted)[0] == "cutlass_internal"
    ended = "RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': -15}\n"
    assert cause(start + ended)[0] == "stopped"


def test_engines_are_stopped_when_a_start_fails() -> None:
    """The order to stop is no cause then."""
    told = "(EngineCore pid=12) INFO 11-23 09:33:36 [core.py:1] [shutdown] trigger received signal=SIGTERM\n"
    failed = trace("RuntimeError: Error Internal", ENGINE, "EngineCore failed to start.")
    assert cause(failed + told + WRAPPER)[0] == "cutlass_internal"


# --- healthy logs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEALTHY)
def test_no_prefix_of_a_healthy_log_is_failed(name: str) -> None:
    lines = (LOGS / name).read_bytes().decode().split("\n")
    for count in range(len(lines) + 1):
        state = parse("\n".join(lines[:count]))
        assert not (state.failed or state.died), lines[count - 1]
        assert state.cause is None, lines[count - 1]


RECORDED = [
    ("qwen3-8b-fp8_engine_killed_while_serving", "engine_dead", "EngineDeadError"),
    ("qwen3-8b-fp8_kv-too-small", "kv_too_small", "4.5 GiB KV cache is needed"),
    ("qwen3-8b-fp8_memory-taken", "mem_free_below_util", "14.52/139.8 GiB"),
    ("qwen3-8b-fp8_python-module-missing", "python_module", "No module named 'flashinfer'"),
]


@pytest.mark.parametrize(("name", "cause_id", "evidence"), RECORDED)
def test_logs_of_real_gpus(name: str, cause_id: str, evidence: str) -> None:
    state = parse((LOGS / "0.24" / f"{name}.log").read_text())
    assert state.cause is not None
    assert (state.cause.id, state.failed or state.died) == (cause_id, True)
    assert evidence in state.cause.evidence


def test_a_share_that_another_process_holds_is_not_computed_away() -> None:
    found = parse((LOGS / "0.24" / "qwen3-8b-fp8_memory-taken.log").read_text()).cause
    assert found is not None
    assert found.change == {}
    assert "what fits after stopping what uses the memory" in found.remedy


def test_a_rank_that_was_killed_has_logged_no_cause() -> None:
    state = parse((LOGS / "0.24" / "pair_tp2_rank1_net-socket_peer-killed.log").read_text())
    assert (state.failed, state.cause) == (False, None)


def test_the_head_of_a_group_says_that_the_other_host_was_lost() -> None:
    """At the first request after it: until then nothing is logged, and /health is fine."""
    state = parse((LOGS / "0.24" / "pair_tp2_rank0_net-socket_peer-killed.log").read_text())
    assert (state.ready, state.died, state.nccl_network) == (True, True, "Socket")
    assert state.cause is not None
    assert state.cause.id == "nccl_peer_lost"
    assert "vllm_nodes" in state.cause.remedy


def test_a_journal_names_a_cause_only_if_it_is_known() -> None:
    assert recognize("Error: manifest unknown") is not None
    assert recognize("FooError: x") is None
    assert parse("") == LogState()


@pytest.mark.parametrize(
    ("status", "hub", "expected"),
    [
        (
            401,
            "Access to model a/b is restricted. You must have access to it and be authenticated to access it. Please"
            " log in.",
            "hf_gated_noauth",
        ),
        (
            403,
            "Access to model a/b is restricted and you are not in the authorized list. Visit the page to ask for"
            " access.",
            "hf_gated_denied",
        ),
        (403, "Your request to access model a/b is awaiting a review from the repo authors.", "hf_gated_denied"),
        (403, "Your request to access model a/b has been rejected by the repo's authors.", "hf_gated_denied"),
        (
            403,
            "Please enable access to public gated repositories in your fine-grained token settings to view this"
            " repository.",
            "hf_gated_denied",
        ),
        (403, "Your token has no such scope.", "hf_gated"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "(APIServer pid=1) "])
def test_a_gated_model_is_explained_by_what_the_hub_says(status: int, hub: str, expected: str, prefix: str) -> None:
    """transformers says the same for all of them, and quotes the hub below an empty line."""
    url = "http://hub/a/b/resolve/main/config.json"
    quoted = [f"{status} Client Error. (Request ID: x)", "", f"Cannot access gated repo for url {url}.", hub]
    client = "".join(
        [
            trace(f"httpx.HTTPStatusError: Client error '{status}' for url '{url}'", prefix),
            f"{prefix}\n{prefix}The above exception was the direct cause of the following exception:\n{prefix}\n",
            trace("huggingface_hub.errors.GatedRepoError: " + f"\n{prefix}".join(quoted), prefix),
        ]
    )
    text = "".join(
        [
            client,
            f"{prefix}\n{prefix}The above exception was the direct cause of the following exception:\n{prefix}\n",
            trace(
                f"\n{prefix}".join(
                    ["OSError: You are trying to access a gated repo.", "Make sure to have access to it.", *quoted]
                ),
                prefix,
            ),
        ]
    )
    assert cause(text)[0] == expected
    assert cause(client)[0] == expected  # without transformers


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("assert num_decodes == 0", "AssertionError: assert num_decodes == 0"),
        ("assert (", "AssertionError"),  # what was asserted is in the lines that follow
        ("raise AssertionError", "AssertionError"),
    ],
)
def test_an_assertion_without_words_says_what_was_asserted(source: str, told: str) -> None:
    frame = f'  File "/vllm/gdn_attn.py", line 3, in build\n    {source}\n'
    log = f"Traceback (most recent call last):\n{frame}AssertionError\n"
    assert cause(log)[1] == told
