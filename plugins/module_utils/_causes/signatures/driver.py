# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU and driver."""

from __future__ import annotations

from ..entries import Signature

DRIVER: tuple[Signature, ...] = (
    Signature(
        "nvidia_banner_old_driver",
        "exit",
        "driver",
        ("compatibility mode is unavailable",),
        r"version (?P<have>[\d.]+) was detected and compatibility mode is UNAVAILABLE",
        "the driver {have} of the host is too old for this image",
        "update the driver, or select an older image (vllm_image)",
        versions="NGC images",
        known="report",
        source="NGC images, entry point banner",
        refines=("driver", "kernel", "cuda_803_804", "no_gpu_visible"),
    ),
    Signature(
        "cuda_driver_too_old",
        "fatal",
        "driver",
        (
            "nvidia driver on your system is too old",
            "driver version is insufficient",
            "cudaerrorinsufficientdriver",
            "unsupported toolchain",
            "cudaerrorunsupportedptxversion",
        ),
        r"The NVIDIA driver on your system is too old|CUDA driver version is insufficient for CUDA runtime"
        r"|cudaErrorInsufficientDriver|PTX was compiled with an unsupported toolchain|cudaErrorUnsupportedPtxVersion",
        "the driver of the host is older than the CUDA of the image",
        "update the driver, or select an older image (vllm_image)",
        versions="driver, CUDA, PyTorch",
        known="report",
        source="PyTorch, c10/cuda; vllm-project/vllm#31700, #28305",
        refines=("nccl",),  # NCCL only meets it first
    ),
    Signature(
        "cuda_803_804",
        "fatal",
        "driver",
        ("error 803", "error 804"),
        r"Error 80(?P<code>[34]): (?:system has unsupported display driver|forward compatibility was attempted)",
        "the driver's library and kernel module do not match, or CUDA's compatibility library is used where it is not"
        " supported",
        "reboot after a driver update; else set VLLM_ENABLE_CUDA_COMPATIBILITY: 0 in vllm_extra_env, and keep"
        " /usr/local/cuda/compat out of LD_LIBRARY_PATH there; it keeps image and model",
        versions="driver, CUDA, PyTorch",
        known="report",
        source="CUDA runtime API, errors 803 and 804; vllm-project/vllm#34821",
    ),
    Signature(
        "cuda_unknown",
        "fatal",
        "driver",
        ("cuda unknown error", "error 999", "cudaerrorunknown", "unknown error", "cuda_error_unknown"),
        r"CUDA unknown error|Error 999: unknown error|(?:CUDA error: |Cuda failure (?:\d+ )?')unknown error"
        r"|cudaErrorUnknown|CUDA_ERROR_UNKNOWN",
        "CUDA could not be initialized: the driver on the host is in a bad state",
        "check `nvidia-smi` and `dmesg` (NVRM, Xid) on the host and reboot it; keep CUDA_VISIBLE_DEVICES out of"
        " vllm_extra_env",
        versions="driver, CUDA, PyTorch",
        known="report",
        source="PyTorch, c10/cuda",
        refines=("nccl",),  # NCCL only meets it first
    ),
    Signature(
        "cuda_os_call",
        "fatal",
        "driver",
        ("os call failed", "cudaerroroperatingsystem", "cuda_error_operating_system"),
        r"OS call failed or operation not supported on this OS|cudaErrorOperatingSystem|CUDA_ERROR_OPERATING_SYSTEM",
        "the operating system refused what the driver asked of it: mostly memory that may not be pinned, or none left",
        "keep memlock: -1 in vllm_ulimits and vllm_ipc: host, check `dmesg` (NVRM, NV_ERR_NO_MEMORY) and `free -g`,"
        " stop what else uses the memory, and deploy again; if `dmesg` shows errors of the driver, reboot the host",
        versions="CUDA 12 and 13, error 304; vLLM 0.21",
        known="report",
        source="vllm-project/vllm#43473; CUDA runtime API",
        refines=("nccl",),  # NCCL only meets it first
    ),
    Signature(
        "gpu_lost",
        "fatal",
        "driver",
        ("gpu is lost", "fallen off the bus", "gpu requires reset", "uncorrectable ecc"),
        r"GPU is lost|fallen off the bus|GPU requires reset|uncorrectable ECC error",
        "the driver lost the GPU",
        "check `dmesg` for Xid lines, power off the host and start it again; if it happens again, have the machine"
        " checked",
        versions="driver",
        known="report",
        source="NVIDIA Xid catalog",
    ),
    Signature(
        "no_gpu_visible",
        "exit",
        "driver",
        (
            "failed to infer device type",
            "no cuda gpus are available",
            "nvidia driver was not detected",
            "found no nvidia driver",
            "no cuda-capable device is detected",
            "libcuda.so",
            "is out of bounds for 0 devices",
        ),
        r"Failed to infer device type|No CUDA GPUs are available|NVIDIA Driver was not detected"
        r"|Found no NVIDIA driver on your system|no CUDA-capable device is detected"
        r"|libcuda\.so(?:\.1)?: cannot open shared object file|is out of bounds for 0 devices",
        "the container sees no GPU",
        "check that vllm_gpu is not none and that `docker exec CONTAINER nvidia-smi` answers; playbooks/prepare.yml"
        " sets the runtime up",
        versions="vLLM 0.10.1.1 to 0.32, PyTorch",
        known="seen",
        source="sandbox",
    ),
    Signature(
        "cuda_fork",
        "fatal",
        "image",
        ("forked subprocess", "cuda was initialized"),
        r"Cannot re-initialize CUDA in forked subprocess",
        "CUDA was initialized before vLLM forked its engine process",
        "set VLLM_WORKER_MULTIPROC_METHOD: spawn in vllm_extra_env; it keeps image and model",
        versions="PyTorch, vLLM with plugins that touch CUDA at import",
        known="report",
        source="vLLM documentation, Python multiprocessing",
        sets=(("vllm_extra_env", "VLLM_WORKER_MULTIPROC_METHOD", "spawn"),),
    ),
    Signature(
        "nvml_unified",
        "exit",
        "image",
        ("nvmlerror_notsupported",),
        r"NVMLError_NotSupported: Not Supported",
        "a part of this image asks NVML for the memory that the GPU has of its own; the GB10 has none, it shares the"
        " host's",
        "set VLLM_ENABLE_STARTUP_PLAN: 0 in vllm_extra_env, and leave out plugins that you added; or use another"
        " vllm_image. The driver is in order",
        versions="vLLM 0.10 to 0.32 on the GB10",
        known="report",
        source="vllm-project/vllm#57378; DGX Spark known issues",
        frames=r"nvmlDeviceGetMemoryInfo|get_device_total_memory",
    ),
)
