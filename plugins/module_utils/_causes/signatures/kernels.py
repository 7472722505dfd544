# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels and their backends on the GB10 (sm_121). The remedy prefers a switch, which keeps image and model."""

from __future__ import annotations

from ..entries import FP8, Signature

ARGS, ENV = "vllm_extra_args", "vllm_extra_env"
MARLIN = (
    "set linear_backend: marlin in vllm_extra_args (for a MoE model also moe_backend: marlin); it keeps image and model"
)
SET_MARLIN = ((ARGS, "linear_backend", "marlin"), (ARGS, "moe_backend", "marlin"))
FLASHINFER = (
    "before vLLM 0.24 VLLM_USE_FLASHINFER_MOE_FP4: 0 (FP8 models: VLLM_USE_FLASHINFER_MOE_FP8: 0) in vllm_extra_env"
)

KERNELS: tuple[Signature, ...] = (
    Signature(
        "flashinfer_no_arch",
        "fatal",
        "kernel",
        ("no supported cuda architectures found",),
        r"No supported CUDA architectures found for major versions (?P<majors>\[[^\]]{0,60}\])",
        "FlashInfer selected a kernel for GPU architectures {majors}, and the GB10 (sm_121) is none of them",
        f"set moe_backend: marlin (or triton) in vllm_extra_args, or {FLASHINFER}; it keeps image and model. A newer"
        " vllm_image is the second choice",
        versions="FlashInfer 0.5 to 0.6, vLLM 0.14 to 0.16",
        known="report",
        source="vllm-project/vllm#31740",
        sets=((ARGS, "moe_backend", "marlin"),),
    ),
    Signature(
        "cutlass_fp4",
        "fatal",
        "kernel",
        (
            "cutlass fp4 gemm",
            "fp4 gemm runner",
            "nvfp4",
            "cutlass_fp4",
            "cutlass_scaled_fp4",
            "unsupported sm",
            "unsupported cuda arch",
        ),
        r"\[FP4 gemm Runner\] Failed to run|Failed to run cutlass FP4 gemm|(?:cutlass_(?:scaled_)?fp4|nvfp4_gemm)"
        r".{0,300}?(?:Error Internal|not (?:implemented|supported)|No compiled|failed)"
        r"|No compiled nvfp4 mm kernel|Unsupported (?:SM|cuda arch).{0,60}?fp4",
        "CUTLASS's FP4 kernel of this image does not run on the GB10 (sm_121)",
        "set linear_backend: marlin and moe_backend: marlin in vllm_extra_args (older images:"
        " VLLM_NVFP4_GEMM_BACKEND: marlin in vllm_extra_env); it keeps image and model. A newer vllm_image is the"
        " second"
        " choice",
        versions="vllm/vllm-openai v0.12.0-aarch64, FlashInfer 0.5",
        known="report",
        source="vllm-project/vllm#30163",
        sets=SET_MARLIN,
    ),
    Signature(
        "no_moe_backend",
        "fatal",
        "kernel",
        ("supports the deployment configuration", " moe backend", " moe kernel", "kernels unavailable for"),
        r"No (?P<format>\w+) MoE backend supports the deployment configuration"
        r"|No (?:suitable )?(?P<format_2>\w+) MoE (?:backend|kernel)s? (?:is |are )?(?:available|found|supported)"
        r"|kernels unavailable for (?P<format_3>\w+) on current platform",
        "no MoE kernel of this image fits this GPU and the model's quantization ({format})",
        "use a newer vllm_image, or an FP8 or AWQ checkpoint of the model (vllm_model); if moe_backend is set in"
        " vllm_extra_args, try it without",
        versions="nvcr.io/nvidia/vllm:25.11-py3, vLLM 0.11 to 0.24",
        known="report",
        source="vllm-project/vllm#30163, flashinfer-ai/flashinfer#3486",
    ),
    Signature(
        "backend_unfit",
        "fatal",
        "kernel",
        ("backend",),
        r"(?P<option>moe_backend|linear_backend|attention_backend|all2all_backend|mm_encoder_attn_backend)"
        r"\s*[=:]?\s*['\"]?(?P<value>[\w.-]+)['\"]?"
        r" (?:is not supported|is not available|is not valid|cannot be used|is invalid|is unknown)"
        r"(?:.{0,200}?(?:Expected one of|one of|choose from|Supported(?: backends)?:?"
        r"|Available:?)\s*(?P<allowed>[\[({][^\])}]{1,400}[\])}]))?",
        "{option} names a backend ({value}) that the model's layers do not have in this vLLM (allowed: {allowed})",
        "set {option} in vllm_extra_args to auto, triton or marlin, which run on the GB10 (allowed: {allowed}); it"
        " keeps"
        " image and model",
        versions="vLLM 0.20 to 0.32",
        known="report",
        source="public log",
    ),
    Signature(
        "backend_no_config",
        "fatal",
        "kernel",
        (
            "does not support the deployment configuration",
            "kernel does not support",
            "is not valid for this configuration",
        ),
        r"(?P<kind>[\w-]{1,40} )?(?:MoE |linear |attention )?backend '?(?P<value>[\w.-]{1,80})'?"
        r" (?:does not support the deployment configuration since (?P<reason>.{1,160})"
        r"|is not valid for this configuration\.?(?: Reason: (?P<reason_2>.{1,160}))?)"
        r"|(?P<reason_3>kernel does not support (?:current device|MoEActivation).{0,120})",
        "the selected backend ({value}) cannot run this model on this GPU: {reason}",
        "remove the backend from vllm_extra_args (moe_backend, linear_backend, attention_backend), or set it to"
        " marlin or triton; it keeps image and model",
        versions="vLLM 0.20 to 0.32",
        known="report",
        source="flashinfer-ai/flashinfer#3486, vllm-project/vllm#41477",
        unless=r"attention ?backend",
    ),
    Signature(
        "backend_unknown",
        "fatal",
        "option",
        ("unknown attention backend",),
        r"Unknown attention backend: '?(?P<value>[\w.-]{1,80})'?(?:\. Valid options are: (?P<allowed>[\w, ]{1,600}))?",
        "this vLLM does not know the attention backend {value}",
        "remove attention_backend from vllm_extra_args (older images: VLLM_ATTENTION_BACKEND from vllm_extra_env), or"
        " set it to one that it knows ({allowed})",
        versions="vLLM 0.24",
        known="seen",
        source="vLLM 0.24 on an H200",
    ),
    Signature(
        "no_linear_kernel",
        "fatal",
        "kernel",
        ("failed to find a kernel that can implement",),
        r"Failed to find a kernel that can implement the (?P<layer>\w[\w ]{0,39}?) linear layer\."
        r"(?:\s{0,8}Reasons:\s{0,8}(?P<reason>.{1,200}))?",
        "no kernel that is allowed computes the {layer} layers of this model on this GPU: {reason}",
        "remove linear_backend from vllm_extra_args, or set it to marlin, and remove VLLM_DISABLED_KERNELS from"
        " vllm_extra_env; it keeps image and model. Without them, use another vllm_image or another checkpoint"
        " (vllm_model)",
        versions="vLLM 0.24",
        known="seen",
        source="vLLM 0.24 on an H200",
    ),
    Signature(
        "no_attention_backend",
        "fatal",
        "kernel",
        ("no valid attention backend found",),
        r"No valid attention backend found[^\n]{0,600}?Reasons: (?P<reasons>\{[^\n]{1,600})",
        "no attention backend of this image computes this model on this GPU: {reasons}",
        "remove attention_backend from vllm_extra_args, and kv_cache_dtype if the reasons name it; that keeps image and"
        " model. If it says the same then (sparse or MLA attention), use a newer vllm_image, or another vllm_model",
        versions="vLLM 0.13 to 0.32",
        known="report",
        source="vllm-project/vllm#31480, #57932",
    ),
    Signature(
        "attention_backend",
        "fatal",
        "kernel",
        (
            "attention backend",
            "attentionbackend",
            "selected backend",
            "flashattention",
            "flash_attn",
            "sinks",
            "flashinfer requires",
            "flash attention build",
        ),
        r"No valid attention backend found(?![^\n]{0,600}?Reasons:)"
        r"|Selected backend \S+ is not valid for this configuration"
        r"|Invalid attention backend\b.{0,120}|(?:attention backend"
        r"|AttentionBackend)\S* .{0,80}?(?:not supported|requires)"
        r"|FlashAttention(?: version)?-? ?\d? ?(?:only supports|is not supported|requires).{0,120}"
        r"|FlashInfer requires GPUs? with.{0,80}|Sinks are only supported"
        r"|flash attention build does not support.{0,80}",
        "the attention backend does not run with this model on this GPU",
        "set attention_backend: TRITON_ATTN (or FLASHINFER) in vllm_extra_args (older images:"
        " VLLM_ATTENTION_BACKEND in vllm_extra_env), and remove kv_cache_dtype if it is set; it keeps image and model",
        versions="vLLM 0.10 to 0.32",
        known="report",
        source="vllm-project/vllm#26565, #25502; vllm/v1/attention/selector.py",
    ),
    Signature(
        "deep_gemm",
        "fatal",
        "kernel",
        ("deepgemm", "deep_gemm", "deep-gemm"),
        r"Assertion error \([^)]{0,300}deep_?gemm[^)]{0,200}\)(?::.{0,100})?|DeepGEMM (?:backend|is) .{0,100}"
        r"|deep_gemm.{0,240}?(?:Unsupported|Unknown|not supported|assert)",
        "DeepGEMM of this image does not know the GPU",
        "set VLLM_USE_DEEP_GEMM: 0 in vllm_extra_env; it keeps image and model. A newer vllm_image is the second"
        " choice",
        versions="vllm/vllm-openai v0.24.0, vLLM 0.20 to 0.26",
        known="report",
        source="vllm-project/vllm#47130",
        sets=((ENV, "VLLM_USE_DEEP_GEMM", "0"),),
    ),
    Signature(
        "cutlass_not_compiled",
        "fatal",
        "kernel",
        ("no compiled cutlass", "no compiled cuda"),
        r"No compiled cutlass_scaled_mm for (?:a compute capability less than )?CUDA device capability:"
        r" (?P<capability>\d+)|No compiled cutlass.{0,160}?(?:capability:? ?(?P<capability_2>\d+)|$)",
        "this image has no FP8 kernel for the GPU (capability {capability})",
        f"{MARLIN}. An image built for the GB10 (vllm_image) is the second choice",
        versions="vLLM's kernels",
        known="source",
        source="csrc/quantization/w8a8/cutlass",
        guide=FP8,
        sets=SET_MARLIN,
    ),
    Signature(
        "cutlass_internal",
        "fatal",
        "kernel",
        ("error internal", "kerrorinternal", "cutlass"),
        r"RuntimeError: Error Internal|cutlass(?: error:|_scaled_mm|_gemm_caller|_moe_mm|_blockwise|_check failed)"
        r".{0,400}?(?:Error Internal|kErrorInternal|Invalid|Error \w+)|CUTLASS error|kErrorInternal"
        r"|Exception raised from cutlass_gemm_caller",
        "CUTLASS's FP8 kernel of this image was built for another Blackwell GPU and does not run on the GB10 (sm_121)",
        f"{MARLIN} (older images: VLLM_TEST_FORCE_FP8_MARLIN: 1 in vllm_extra_env). An image built for the GB10"
        " (vllm_image) is the second choice; the model is not the problem",
        versions="images built for sm_120a only; vLLM 0.10 to 0.24",
        known="report",
        source="vllm-project/vllm#43367, #40758, #43507, #36835",
        guide=FP8,
        sets=SET_MARLIN,
    ),
    Signature(
        "kernel_arch_asm",
        "fatal",
        "kernel",
        ("not supported on .target", "arch conditional mma", "arch conditional", "tile::scatter4", "tcgen05"),
        r"Feature '(?P<feature>[^']{1,60})' not supported on \.target '(?P<target>sm_\w+)'"
        r"|(?:ERROR : )?Arch conditional (?P<feature_2>[\w ]{1,40}) instruction used without targeting",
        "a kernel of this image uses instructions that the GB10 does not have ({feature})",
        "set moe_backend: marlin and linear_backend: marlin in vllm_extra_args; it keeps image and model. A newer"
        " vllm_image is the second choice",
        versions="vllm/vllm-openai nightly-aarch64 of 2026-04, v0.20.0",
        known="report",
        source="vllm-project/vllm#41477",
        sets=SET_MARLIN,
    ),
    Signature(
        "illegal_instruction",
        "fatal",
        "kernel",
        ("an illegal instruction", "cudaerrorillegalinstruction"),
        r"(?:CUDA error: )?an illegal instruction was encountered|cudaErrorIllegalInstruction",
        "a kernel of this image (usually FlashInfer's FP4 MoE) does not run on the GPU; the rest of the image does",
        "set linear_backend: marlin and moe_backend: marlin in vllm_extra_args, or before vLLM 0.24"
        " VLLM_USE_FLASHINFER_MOE_FP4: 0 in vllm_extra_env; it keeps image and model. A newer vllm_image is the second"
        " choice",
        versions="FlashInfer 0.5 to 0.6 on the GB10",
        known="report",
        source="vllm-project/vllm#31740",
        guide=FP8,
        refines=("nccl",),
        sets=(*SET_MARLIN, (ENV, "VLLM_USE_FLASHINFER_MOE_FP4", "0")),
    ),
    Signature(
        "tma_descriptor",
        "exit",
        "kernel",
        ("the tma descriptor",),
        r"Failed to initialize the TMA descriptor(?: \d{1,4}| due to [\w ]{1,80})?",
        "a kernel of this image (of attention, a MoE or FP8) asks the GPU for a transfer of memory that it refuses",
        "set attention_backend: TRITON_ATTN in vllm_extra_args if the trace names attention, else moe_backend: marlin"
        " and linear_backend: marlin; it keeps image and model. A newer vllm_image is the second choice",
        versions="FlashInfer 0.3 to 0.5, FlashAttention 3, CUTLASS 3",
        known="report",
        source="vllm-project/vllm#13961; flashinfer-ai/flashinfer#2232",
        unless=r"due to an illegal memory access",
    ),
    Signature(
        "kernel_image_invalid",
        "fatal",
        "compiler",
        ("kernel image is invalid", "invalid kernel image", "cudaerrorinvalidkernelimage", "cuda_error_invalid_image"),
        r"device kernel image is invalid|invalid kernel image|cudaErrorInvalidKernelImage|CUDA_ERROR_INVALID_IMAGE",
        "a kernel that was compiled in this image is not valid for the GPU: compiler and GPU do not match, or the"
        " compiled file is damaged",
        "remove the compile caches under vllm_home (cache), set TRITON_PTXAS_PATH: /usr/local/cuda/bin/ptxas in"
        " vllm_extra_env, and deploy again; then another vllm_image",
        versions="Triton, FlashInfer, CUDA 13",
        known="report",
        source="CUDA runtime API, error 200",
        sets=((ENV, "TRITON_PTXAS_PATH", "/usr/local/cuda/bin/ptxas"),),
    ),
    Signature(
        "no_kernel_image",
        "fatal",
        "kernel",
        ("no kernel image is available", "cudaerrornokernelimagefordevice"),
        r"no kernel image is available(?: for execution on the device)?|cudaErrorNoKernelImageForDevice",
        "this image, or one of its kernels, was not built for the GPU",
        "set moe_backend: marlin and linear_backend: marlin in vllm_extra_args if the trace names a MoE, FP4 or FP8"
        " kernel; else use an image built for the GB10 with CUDA 13 (vllm_image)",
        versions="vllm/vllm-openai v0.26.0-aarch64-cu129 (FlashAttention 4), PyTorch without sm_120",
        known="report",
        source="bytebunkerlabs/dgx-spark-serve; PyTorch",
        guide=FP8,
    ),
    Signature(
        "kernel_guard",
        "exit",
        "kernel",
        ("only supports sm",),
        r"This kernel only supports (?P<arch>sm\w+)",
        "a kernel of this image was built for {arch} and stops on the GB10 (sm_121)",
        f"{MARLIN}. A newer vllm_image is the second choice",
        versions="vLLM 0.15 to 0.18 built for sm_121, FP8 models",
        known="report",
        source="eugr/spark-vllm-docker#143; vllm-project/vllm#35568",
        guide=FP8,
        refines=("illegal_access", "kernel"),
        sets=SET_MARLIN,
    ),
    Signature(
        "stream_capturing",
        "fatal",
        "kernel",
        ("stream is capturing", "cudaerrorstreamcapture"),
        r"operation not permitted when stream is capturing|cudaErrorStreamCapture\w+",
        "a kernel cannot be recorded in a CUDA graph",
        "set enforce_eager: true in vllm_extra_args, or cudagraph_mode: PIECEWISE in its compilation_config; it keeps"
        " image and model. A newer vllm_image is the second choice",
        versions="vLLM 0.17 to 0.20 with MTP",
        known="report",
        source="vllm-project/vllm#36843, #36634",
        sets=((ARGS, "enforce_eager", "true"),),
    ),
    Signature(
        "cuda_check",
        "fatal",
        "kernel",
        ("failed: cuda error", "cuda error at", "cuda runtime error at"),
        r"Failed: Cuda error (?P<place>\S{1,200}):\d+ '(?P<detail>[^'\n]{1,200})'"
        r"|CUDA error at (?P<place_2>\S{1,200}):\d+[: ]+(?P<detail_2>[^\n]{1,200})"
        r"|CUDA Runtime Error at:? (?P<place_3>\S{1,200}):\d+[: ]+(?P<detail_3>[^\n]{1,200})",
        "compiled code of vLLM ended its process after an error of CUDA in {place}: {detail}",
        "set disable_custom_all_reduce: true in vllm_extra_args if that names custom_all_reduce; else try"
        " enforce_eager: true, then moe_backend: marlin and linear_backend: marlin;"
        " check `dmesg` for Xid lines. Image and model stay",
        versions="vLLM 0.8 to 0.24",
        known="report",
        source="vllm-project/vllm#20170; zai-org/GLM-V#172",
    ),
    Signature(
        "illegal_access",
        "fatal",
        "kernel",
        (
            "an illegal memory access",
            "unspecified launch failure",
            "misaligned address",
            "cudaerrorlaunchfailure",
            "cudaerrorillegaladdress",
        ),
        r"an illegal memory access was encountered|unspecified launch failure|misaligned address"
        r"|cudaErrorLaunchFailure|cudaErrorIllegalAddress",
        "a GPU kernel crashed",
        "check `dmesg` for Xid lines; try enforce_eager: true, then moe_backend: marlin and linear_backend: marlin in"
        " vllm_extra_args, then a newer vllm_image or driver",
        versions="driver, CUDA, PyTorch",
        known="report",
        source="vllm-project/vllm#36835",
        generic=True,
        refines=("nccl",),  # NCCL only meets it first
    ),
    Signature(
        "device_assert",
        "fatal",
        "kernel",
        ("device-side assert", "cudaerrorassert"),
        r"device-side assert triggered|cudaErrorAssert\b",
        "a kernel stopped because it was given an index that is out of range: a fault of this vLLM with this"
        " model, or with"
        " one request (images, a token beyond the vocabulary)",
        "drop speculative_config and other options that you added from vllm_extra_args, then use another"
        " vllm_image; if one"
        " kind of request does it, limit_mm_per_prompt refuses images. Memory and driver are not the cause",
        versions="vLLM 0.10 to 0.24",
        known="report",
        source="vllm-project/vllm#44734, #23954",
        generic=True,
        refines=("nccl",),  # NCCL only meets it first
    ),
    Signature(
        "cublas",
        "fatal",
        "kernel",
        ("cublas", "cudnn"),
        r"CU(?:BLAS|DNN)_STATUS_(?P<status>(?!ALLOC_FAILED)\w+)|(?:cublas(?:Lt)?|cudnn)\w* failed",
        "a library of CUDA in this image refused a matrix product ({status})",
        "try linear_backend: marlin or triton in vllm_extra_args; then another vllm_image: CUDA's libraries and the GPU"
        " do not match",
        versions="PyTorch with cuBLAS 12 and 13",
        known="source",
        source="PyTorch, aten/src/ATen/cuda",
    ),
    Signature(
        "triton_resources",
        "fatal",
        "kernel",
        ("out of resource", "outofresources"),
        r"(?:OutOfResources: )?out of resource: (?P<resource>[\w ]{1,30}), Required: (?P<need>\d+), Hardware limit:"
        r" (?P<limit>\d+)"
        r"|OutOfResources",
        "a kernel needs more than the GB10 has ({resource}: {need}, the limit is {limit})",
        "set attention_backend: FLASHINFER or moe_backend: marlin in vllm_extra_args, by the kernel that the trace"
        " names; it keeps image and model. A newer vllm_image is the second choice",
        versions="Triton 3 on sm_121 (99 KiB of shared memory)",
        known="report",
        source="triton/runtime/errors.py",
    ),
    Signature(
        "tilelang_shared",
        "fatal",
        "kernel",
        ("dynamic shared memory size to",),
        r"Failed to set the allowed dynamic shared memory size to (?P<need>\d+)",
        "a kernel of TileLang needs more shared memory than the GB10 has ({need} bytes)",
        "use a newer vllm_image, or another vllm_model; attention_backend and moe_backend select no other kernel here",
        versions="TileLang on sm_121 (99 KiB of shared memory), vLLM 0.26",
        known="report",
        source="tilelang, src/runtime",
    ),
    Signature(
        "flashinfer_artifact",
        "fatal",
        "kernel",
        (".h not found", "batchedgemmenums"),
        r"AssertionError: (?P<file>\w+\.h) not found",
        "FlashInfer could not fetch a part of a kernel from NVIDIA's server ({file}); the image does not have it",
        "set moe_backend: marlin and attention_backend: TRITON_ATTN in vllm_extra_args, which need nothing from there;"
        " or allow the host to reach edge.urm.nvidia.com; or use another vllm_image, which brings these files",
        versions="FlashInfer 0.2 to 0.6",
        known="report",
        source="flashinfer-ai/flashinfer#2941, #1352",
        frames=r"flashinfer/jit",
        sets=(("vllm_extra_args", "moe_backend", "marlin"),),
    ),
)
