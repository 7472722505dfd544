# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exceptions that no signature knows are placed by class, module and path, and what is likely is told as likely."""

from __future__ import annotations

import re

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes import causes, place
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.signatures import BACKENDS, FAMILIES, FEATURES
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from hypothesis import given
from hypothesis import strategies as st

PACKAGES = "/usr/local/lib/python3.12/dist-packages"
CORE = "vllm/v1/engine/core.py:run_engine_core"
WORKER = "vllm/v1/worker/gpu_worker.py:load_model"
API = "vllm/entrypoints/cli/serve.py:cmd"

# family, exception, where it was raised (path in the packages : function)
CASES = [
    ("kernel", "torch.AcceleratorError: CUDA error: invalid device function", "flashinfer/fused_moe/core.py:run_moe"),
    ("kernel", "RuntimeError: mm_fp4 backend b12x is not available for this device", "flashinfer/gemm/gemm_base.py:mm"),
    ("kernel", "NotImplementedError: w4a16 is only implemented for sm_90", "vllm/model_executor/layers/x.py:apply"),
    ("kernel", "FooBarError: grid is too large", "triton/runtime/jit.py:run"),
    ("kernel", "AssertionError: block", "vllm/model_executor/layers/fused_moe/layer.py:forward"),
    ("kernel", "ValueError: head_dim 72", "vllm_flash_attn/flash_attn_interface.py:flash_attn_varlen_func"),
    ("kernel", "RuntimeError: Invalid thread config", "vllm/x/marlin_utils.py:apply_gptq_marlin_linear"),
    ("kernel", "RuntimeError: Marlin repack needs size_k % 16", "vllm/_custom_ops.py:gptq_marlin_repack"),
    ("kernel", "tvm.error.InternalError: Check failed: a == b (84 vs. 83) :", "flashinfer/data/csrc/foo.cu:run"),
    ("kernel", "tvm.error.InternalError: Check failed: foo CUDA_ERROR_INVALID_VALUE", "tvm/_ffi_api.py:__call__"),
    ("image", "AttributeError: type object 'foo.Type' has no attribute 'BAR'", "torch/distributed/foo.py:<module>"),
    ("image", "ImportError: dlopen failed for _foo_C", "foo/__init__.py:<module>"),
    ("image", "AttributeError: module 'triton.language' has no attribute 'foo_dot'", "vllm/x.py:<module>"),
    ("image", "RuntimeError: torchvision was compiled against another PyTorch", "torchvision/extension.py:<module>"),
    ("image", "ImportError: the foo backend needs a newer foo", "foo/backend.py:load"),
    ("image", "FooVersionError: foo requires bar>=2.0", "foo/check.py:check"),
    ("image", "RuntimeError: version mismatch between foo and its plugin", "foo/check.py:check"),
    ("image", "RuntimeError: operator foo::nms is unknown", "torch/library.py:<module>"),
    ("image", "AttributeError: 'NoneType' object has no attribute 'cfoo_nf4'", "bitsandbytes/functional.py:quantize"),
    ("kernel", "cutlass.foo.DSLRuntimeError: the gemm rejects sm_121a", "cutlass/cute/runtime.py:launch"),
    ("compiler", "NameError: name 's27' is not defined", "/x/inductor_cache/ab/cab.py:call"),
    ("compiler", "torch._inductor.exc.InductorError: LoweringException: bad stride", "torch/_inductor/graph.py:run"),
    ("compiler", "triton.compiler.errors.CompilationError: at 12:8: tl.foo", "triton/compiler/code_generator.py:visit"),
    ("compiler", "FooBarError: lowering ended", "torch/_dynamo/convert_frame.py:compile"),
    ("compiler", "RuntimeError: JIT compilation of gdn_prefill ended with 1", "flashinfer/jit/core.py:build"),
    ("compiler", "cutlass.base_dsl.common.DSLRuntimeError: ICE IR Verification Failed", "cutlass/base_dsl/dsl.py:x"),
    ("option", "ValueError: max_num_batched_tokens must be positive", "vllm/v1/engine/core.py:run_engine_core"),
    ("option", "ValueError: Ray component foo uses a port number of bar", "ray/_private/parameter.py:update"),
    ("option", "ValueError: foo and bar cannot be used together", "vllm/engine/arg_utils.py:create_engine_config"),
    ("option", "AssertionError: cudagraph_mode FULL needs piecewise compilation", "vllm/config/vllm.py:__post_init__"),
    ("option", "NotImplementedError: --enable-foo is for AMD", "vllm/platforms/cuda.py:check_and_update_config"),
    ("option", "argparse.ArgumentTypeError: foo", "argparse.py:parse"),
    ("option", "FooBarError: not one of them", "vllm/config/cache.py:validate"),
    ("option", "AttributeError: To serve an adapter, 'foo' must be implemented", "vllm/lora/utils.py:process"),
    ("option", "ValueError: Invalid tool parser: openai. Choose from ['hermes']", "vllm/x.py:y"),
    ("option", "TypeError: Invalid enforce_eager value", "vllm/entrypoints/cli/serve.py:cmd"),
    ("option", "vllm.foo.ConflictError: one of foo and bar", "vllm/x.py:create_engine_config"),
    ("model", "KeyError: 'qwen3_next'", "vllm/entrypoints/cli/serve.py:cmd"),
    ("model", "AttributeError: 'list' object has no attribute 'keys'", "vllm/x.py:y"),
    ("model", "KeyError: 'qwen9_vl_text'", "transformers/models/auto/configuration_auto.py:__getitem__"),
    ("model", "FooBarError: no such template", "transformers/tokenization_utils_base.py:from_pretrained"),
    ("model", "TypeError: argument of type NoneType is not iterable", "transformers/modeling_rope_utils.py:validate"),
    ("model", "ValueError: model_type foo has no text_config", "vllm/config/model.py:x"),
    ("model", "OSError: no tokenizer in ['model.safetensors']", "vllm/tokenizers/mistral.py:find"),
    ("model", "RuntimeError: Unknown mixer_type foo", "vllm/model_executor/models/foo.py:__init__"),
    ("model", "RuntimeError: no replacement for items", "vllm/multimodal/processing.py:apply"),
    (
        "weights",
        "ValueError: some but not all parts are so",
        "vllm/model_executor/layers/quantization/x.py:create_weights",
    ),
    ("weights", "ValueError: Tried to load 3 shards into 2", WORKER),
    (
        "weights",
        "AssertionError: 1024 != 2048",
        "vllm/model_executor/model_loader/weight_utils.py:default_weight_loader",
    ),
    ("weights", "RuntimeError: GGUF file has no tensor foo", WORKER),
    ("weights", "safetensors_rust.SafetensorError: unknown dtype F4", "safetensors/torch.py:load"),
    ("files", "FileNotFoundError: [Errno 2] No such file or directory: '/root/.cache/foo/x.bar'", "vllm/x.py:read"),
    ("files", "OSError: [Errno 36] File name too long: '/root/.cache/huggingface/x'", "vllm/x.py:read"),
    ("files", "NotADirectoryError: [Errno 20] Not a directory: '/root/.cache/x'", "vllm/x.py:read"),
    ("files", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1", "json/decoder.py:raw_decode"),
    ("files", "OSError: [Errno 122] Disk is over its limit", "huggingface_hub/file_download.py:http_get"),
    (
        "files",
        "RuntimeError: Data processing error: I/O error (os error 5)",
        "huggingface_hub/file_download.py:xet_get",
    ),
    ("hub", "huggingface_hub.errors.FooHubError: something", "huggingface_hub/file_download.py:get"),
    ("hub", "httpx.ReadTimeout: The read operation timed out", "httpx/_transports/default.py:map"),
    ("hub", "OSError: 500 Server Error for https://huggingface.co/x", "vllm/x.py:y"),
    ("hub", "FooBarError: stream ended", "urllib3/response.py:read"),
    ("memory", "RuntimeError: not enough memory for the encoder", "vllm/x.py:y"),
    ("memory", "MemoryError: ", "vllm/x.py:y"),
    ("memory", "foo.OutOfMemoryError: pool", "foo/pool.py:get"),
    ("memory", "ValueError: the KV cache memory is used up", "vllm/v1/core/kv_cache_utils.py:check"),
    ("memory", "FooBarError: the KV cache of 3.1 GiB is below 5.0 GiB", "vllm/v1/core/x.py:y"),
    ("memory", "vllm.FooBarError: 3.1 GiB are too few for a KV cache", "vllm/v1/core/x.py:y"),
    ("network", "zmq.error.ZMQError: Protocol not supported", "zmq/sugar/socket.py:bind"),
    ("network", "torch.distributed.DistError: peer gone", "torch/distributed/distributed_c10d.py:all_gather"),
    ("network", "FooBarError: rank 1", "vllm/distributed/device_communicators/pynccl.py:broadcast"),
    ("network", "ray.exceptions.FooRayError: x", "ray/_private/worker.py:get"),
    ("network", "RuntimeError: ibv_reg_mr failed", "foo/rdma.py:reg"),
    ("driver", "pynvml.NVMLError_NotSupported: Not Supported", "pynvml.py:_nvmlCheckReturn"),
    ("driver", "RuntimeError: CUDA driver initialization failed, you might not have a GPU", "torch/cuda/__init__.py:x"),
    ("driver", "RuntimeError: all CUDA-capable devices are busy or unavailable", "torch/cuda/__init__.py:_lazy_foo"),
    ("engine", "AttributeError: 'Foo' object has no attribute 'bar'", "vllm/v1/core/sched/scheduler.py:schedule"),
    ("engine", "AssertionError: ", "vllm/v1/core/block_pool.py:get_new_blocks"),
    ("engine", "IndexError: list index out of range", "vllm/v1/worker/gpu_input_batch.py:condense"),
    ("engine", "UnboundLocalError: cannot access local variable 'x'", "vllm/v1/engine/core.py:step"),
    ("engine", "RuntimeError: The size of tensor a (16) must match", "vllm/v1/worker/gpu_model_runner.py:_prepare"),
    (
        "engine",
        "RuntimeError: expected foo to have the same dtype, but got: float != half",
        "torch/nn/linear.py:forward",
    ),
    ("engine", "RuntimeError: shape '[4, 8]' is invalid for input of size 12", "vllm/v1/worker/gpu_worker.py:foo"),
    ("unknown", "FooBarError: something else", "foo/bar.py:baz"),
    ("unknown", "foo.Boom: ", "foo/bar.py:baz"),
]
OUTER = {"EngineCore": CORE, "APIServer": API}


def traceback(exception: str, where: str, process: str = "EngineCore") -> str:
    """A start that fails with an exception."""
    log = (
        f"({process} pid=12) ERROR 01-28 06:36:45 [core.py:946] " if process == "EngineCore" else f"({process} pid=1) "
    )
    lines = ["EngineCore failed to start."] if process == "EngineCore" else []
    lines.append("Traceback (most recent call last):")
    for place_ in (OUTER[process], where):
        path, function = place_.split(":")
        # the source quotes another error, which must not count
        lines += [
            f'  File "{PACKAGES}/{path}", line 7, in {function}',
            '    raise OSError("CUDA out of memory") from e',
        ]
    lines.append(exception)
    text = "".join(f"{log}{line}\n" for line in lines)
    return text + "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"


@pytest.mark.parametrize("process", OUTER)
@pytest.mark.parametrize(("family", "exception", "where"), CASES)
def test_family(family: str, exception: str, where: str, process: str) -> None:
    cause = parse(traceback(exception, where, process)).cause
    assert cause is not None
    assert (cause.family, cause.certain) == (family, False), cause
    assert cause.evidence == exception.strip()
    # the operator reads the exception, that it is not known, where it was raised, and what to set
    assert exception.strip() in cause.remedy
    assert "No signature matches" in cause.remedy
    assert where.split(":")[0].split("/")[-1] in cause.remedy
    assert re.search(r"vllm_\w+|hf_cache_\w+", cause.remedy)
    assert "docker logs" not in cause.remedy
    assert "out of memory" not in cause.evidence or family == "memory"


def test_every_family_has_cases() -> None:
    with_cases = {family for family, _exception, _where in CASES}
    others = {"service", "docker", "request"}
    assert {entry.family for entry in FAMILIES} == with_cases | others


def test_families_without_a_traceback_of_vllm() -> None:
    assert place.place("FooError", "Error response from daemon: foo", []).family == "docker"
    assert place.place("FooError", "x", ["/x/starlette/routing.py:app: await"]).family == "request"
    stopped = parse(
        'Traceback (most recent call last):\n  File "/x/y.py", line 3, in f\nKeyboardInterrupt: terminated\n'
    )
    assert stopped.cause is not None
    assert (stopped.cause.id, stopped.cause.family) == ("stopped", "service")


def test_no_family_has_the_remedy_of_another() -> None:
    """What only one family may advise is in no other one."""
    only = {
        "memory": "vllm_gpu_memory_utilization",
        "network": "NCCL_SOCKET_IFNAME",
        "kernel": "linear_backend: marlin",
        "hub": "vllm_hf_endpoint",
    }
    for entry in FAMILIES:
        for family, advice in only.items():
            assert (advice in entry.remedy) == (entry.family == family), entry.id


# part of vLLM, where it raised, whether it served by then, what is to be switched off
PARTS = [
    ("vllm/v1/spec_decode/eagle.py:load_model", False, "drop speculative_config"),
    ("vllm/model_executor/models/foo_mtp.py:load_weights", False, "drop speculative_config"),
    ("vllm/model_executor/models/transformers/base.py:forward", False, "remove model_impl: transformers"),
    ("vllm/lora/worker_manager.py:create", False, "remove enable_lora and lora_modules"),
    ("vllm/distributed/kv_transfer/kv_connector/foo.py:start", False, "remove kv_transfer_config"),
    ("vllm/distributed/device_communicators/symm_mem.py:__init__", False, "VLLM_ALLREDUCE_USE_SYMM_MEM: 0"),
    ("vllm/distributed/device_communicators/custom_all_reduce.py:x", False, "disable_custom_all_reduce: true"),
    ("vllm/v1/attention/backends/turboquant_attn.py:_decode_attention", False, "remove kv_cache_dtype"),
    ("flashinfer/comm/mnnvl.py:__init__", False, "pass_config: {fuse_allreduce_rms: false}"),
    ("flashinfer/comm/mnnvl.py:__init__", False, "VLLM_ALLREDUCE_USE_FLASHINFER: 0"),
    ("vllm/distributed/device_communicators/all2all.py:dispatch", False, "remove all2all_backend"),
    ("vllm/v1/worker/startup_plan.py:build", False, "VLLM_ENABLE_STARTUP_PLAN: 0"),
    ("vllm/reasoning/foo.py:__init__", False, "set the reasoning_parser"),
    ("vllm/tool_parsers/foo.py:__init__", False, "set the tool_call_parser"),
    ("vllm/model_executor/model_loader/runai_streamer_loader.py:load", False, "set load_format: auto"),
    ("vllm/v1/sample/ops/topk_topp_sampler.py:flashinfer_sample", False, "VLLM_USE_FLASHINFER_SAMPLER: 0"),
    ("flashinfer/autotuner.py:choose_one", False, "enable_flashinfer_autotune: false"),
    ("deep_gemm/jit.py:compile", False, "VLLM_USE_DEEP_GEMM: 0"),
    ("vllm/v1/worker/gpu/pool/pooling_runner.py:select", False, "VLLM_USE_V2_MODEL_RUNNER: 0"),
    ("vllm/multimodal/profiling.py:get", False, "limit_mm_per_prompt"),
    ("vllm/v1/worker/gpu_model_runner.py:capture_model", False, "enforce_eager: true"),
    ("vllm/v1/structured_output/foo.py:compile", True, "structured_outputs_config"),
    ("vllm/model_executor/layers/mamba/mixer.py:forward", True, "enable_prefix_caching: false"),
]


@pytest.mark.parametrize(("where", "serves", "advice"), PARTS)
def test_the_part_that_raised_it_is_switched_off_first(where: str, serves: bool, advice: str) -> None:
    text = traceback("AssertionError: foo", where)
    if serves:
        text = (
            SERVING + text[: text.index("(APIServer")].replace("failed to start", "encountered a fatal error") + DEATH
        )
    cause = parse(text).cause
    assert cause is not None
    assert (cause.certain, cause.evidence) == (False, "AssertionError: foo")
    assert advice in cause.remedy.split(" first, because the exception points to ")[0]
    assert "No signature matches" in cause.remedy


def test_every_part_has_a_case() -> None:
    found = {
        place.feature([f"/x/dist-packages/{where}: "], "serve" if serves else "start") for where, serves, _part in PARTS
    }
    assert found == set(FEATURES)


# kernel, where it raised, the option that selects another one
KERNELS = [
    ("vllm/model_executor/layers/fused_moe/experts/foo.py:apply", "moe_backend"),
    ("vllm/v1/attention/backends/mla/foo.py:forward_mqa", "attention_backend"),
    ("vllm/v1/attention/backends/foo.py:forward", "attention_backend: TRITON_ATTN"),
    ("vllm/model_executor/layers/quantization/utils/fp8_utils.py:cutlass_scaled_mm", "linear_backend"),
]


@pytest.mark.parametrize(("where", "option"), KERNELS)
@pytest.mark.parametrize("error", ["torch.AcceleratorError: CUDA error: foo", "cutlass.foo.MLIRError: foo"])
def test_the_kernel_that_raised_it_is_exchanged_first(where: str, option: str, error: str) -> None:
    cause = parse(traceback(error, where)).cause
    assert cause is not None
    assert (cause.family in ("kernel", "compiler"), cause.certain) == (True, False)
    assert option in cause.remedy.split(" first, because the exception points to ")[0]


def test_every_backend_has_a_case() -> None:
    assert {place.backend([f"/x/dist-packages/{where}: "]) for where, _option in KERNELS} == set(BACKENDS)


LAYERS, COMM = f"{PACKAGES}/vllm/model_executor/layers", f"{PACKAGES}/flashinfer/comm"
LINEAR = f"{LAYERS}/linear.py:forward: output = self.quant_method.apply(self, x)"
HELPER = f"{LAYERS}/quantization/utils/fp8_utils.py:apply: return torch.ops.vllm.foo(x)"


@pytest.mark.parametrize(
    ("frames", "option"),
    [
        ([f"{PACKAGES}/vllm/model_executor/models/qwen3_moe.py:forward: self.gate(x)", LINEAR, HELPER], "linear"),
        (
            [f"{LAYERS}/mla.py:forward: x", LINEAR, f"{PACKAGES}/vllm/kernels/linear/scaled_mm/foo.py:apply: x"],
            "linear",
        ),
        ([f"{LAYERS}/mla.py:forward: x", LINEAR, f"{LAYERS}/foo.py:apply: x"], "linear"),
        ([LINEAR, f"{LAYERS}/quantization/foo_moe.py:apply: x", f"{PACKAGES}/foo.py:run: scaled_mm(x)"], "moe"),
        ([f"{LAYERS}/fused_moe/layer.py:forward: x", f"{LAYERS}/fused_moe/foo.py:apply: x", HELPER], "moe"),
    ],
)
def test_the_innermost_kernel_is_exchanged(frames: list[str], option: str) -> None:
    found = place.backend(frames)
    assert found is not None
    assert f"set {option}_backend: marlin" in found.advice


def test_the_exchange_between_experts_is_no_all_reduce() -> None:
    outer = f"{PACKAGES}/vllm/distributed/device_communicators/all2all.py:initialize: x"
    inner = [f"{COMM}/trtllm_alltoall.py:init: x", f"{COMM}/mnnvl.py:__init__: x"]
    for frames in ([outer, *inner], [outer, inner[1]]):
        part = place.feature(frames, "start")
        assert part is not None
        assert part.name == "the exchange between experts"
    assert place.feature(inner, "start") is None


def test_a_worker_of_ray_is_not_imported() -> None:
    ray = f"{PACKAGES}/ray/_private"
    frames = [f"{ray}/workers/default_worker.py:<module>: x", f"{ray}/worker.py:connect: x", f"{ray}/node.py:foo: x"]
    assert place.place("RuntimeError", "RuntimeError: foo", frames).family == "network"
    assert place.place("RuntimeError", "RuntimeError: foo", [f"{ray}/foo.py:<module>: x"]).family == "image"


def test_the_estimate_of_graphs_is_no_capture() -> None:
    worker = f"{PACKAGES}/vllm/v1/worker"
    outer = f"{worker}/gpu_worker.py:f: cudagraph_memory_estimate = self.model_runner.profile_cudagraph_memory()"
    model = f"{worker}/gpu_model_runner.py:profile_cudagraph_memory: self._init_minimal_kv_cache_for_profiling()"
    inner = [f"{worker}/gpu_model_runner.py:{function}: x" for function in ("foo", "bar", "baz")]
    captured = place.feature([outer, *inner], "start")
    assert captured is not None
    assert "enforce_eager" in captured.advice
    assert place.feature([outer, model, *inner], "start") is None


def test_an_exception_of_marlin_is_not_answered_with_marlin_first() -> None:
    cause = parse(traceback("RuntimeError: foo", "vllm/model_executor/layers/fused_moe/marlin_moe.py:apply")).cause
    assert cause is not None
    assert " first, because " not in cause.remedy


def test_a_known_cause_names_only_a_part_that_is_optional() -> None:
    """The weights of a draft model are not needed; a kernel that is captured or a file that is missing stays itself."""
    key = "KeyError: 'model.layers.43.mtp_block.main_norm.weight'"
    draft = parse(traceback(key, "vllm/v1/spec_decode/eagle.py:load_model")).cause
    model = parse(traceback(key, "vllm/model_executor/models/llama.py:load_weights")).cause
    missing = parse(traceback("OSError: [Errno 28] No space left on device", "vllm/v1/spec_decode/eagle.py:load")).cause
    assert draft is not None
    assert model is not None
    assert missing is not None
    assert (draft.id, model.id, missing.id) == ("weights_key", "weights_key", "disk_full")
    assert draft.remedy == "drop speculative_config from vllm_extra_args first, because the exception points to" + (
        f" speculative decoding. {model.remedy[0].upper()}{model.remedy[1:]}"
    )
    assert "speculative" not in model.remedy + missing.remedy


SERVING = "(APIServer pid=1) INFO:     Application startup complete.\n"
DEATH = (
    "(APIServer pid=1) ERROR 02-24 19:04:56 [async_llm.py:551] AsyncLLM output_handler failed.\n"
    "(APIServer pid=1) ERROR 02-24 19:04:56 [async_llm.py:551] vllm.v1.engine.exceptions.EngineDeadError: EngineCore"
    " encountered an issue. See stack trace (above) for the root cause.\n(APIServer pid=1) INFO:     Shutting down\n"
)


@pytest.mark.parametrize(("family", "exception", "where"), CASES)
def test_an_engine_that_dies_while_it_serves_shows_its_exception(family: str, exception: str, where: str) -> None:
    text = traceback(exception, where).replace("failed to start", "encountered a fatal error")
    text = SERVING + text[: text.index("(APIServer")] + DEATH
    state = parse(text)
    cause = state.cause
    assert cause is not None
    assert state.died
    assert (cause.id, cause.evidence, cause.certain) == ("engine_dead", exception.strip(), False)
    assert "the engine died while it served" in cause.meaning
    # it has served with its options and files: they are not the cause
    assert cause.family in ("engine", "kernel", "compiler", "memory", "network", "driver")


@given(st.sampled_from(CASES), st.text("abcdefgh", min_size=3, max_size=12))
def test_a_renamed_exception_keeps_a_family_and_is_quoted(case: tuple[str, str, str], name: str) -> None:
    _family, exception, where = case
    renamed = f"{name.title()}Error:{exception.partition(':')[2]}"
    cause = parse(traceback(renamed, where)).cause
    assert cause is not None
    assert cause.evidence == renamed.strip()
    assert cause.family in {entry.family for entry in FAMILIES}


@given(st.text(max_size=60), st.text(max_size=200), st.lists(st.text(max_size=80), max_size=5))
def test_no_exception_makes_it_raise(name: str, text: str, frames: list[str]) -> None:
    entry = place.place(name, text, frames)
    assert place.explain(entry, text, frames).remedy
    causes.find(text, causes.ALL, "\n".join(frames))
