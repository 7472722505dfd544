# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compilers in the image, which build kernels at the start."""

from __future__ import annotations

from ..entries import Signature

ENV = "vllm_extra_env"
NO_FLASHINFER = (
    "set VLLM_USE_FLASHINFER_SAMPLER: 0 in vllm_extra_env and moe_backend: marlin in vllm_extra_args (before vLLM 0.24"
    " VLLM_USE_FLASHINFER_MOE_FP4: 0 in vllm_extra_env), so that nothing is compiled"
)

COMPILERS: tuple[Signature, ...] = (
    Signature(
        "cuda_home",
        "fatal",
        "compiler",
        ("/nvcc: not found", "/nvcc: no such file"),
        r"sh: (?:\d+: )?(?P<path>(?!/usr/local/cuda/bin/):?/[^\s:]{1,200}/nvcc): (?:not found|No such file)",
        "FlashInfer or PyTorch compiles a kernel at the start, and {path} is not there: CUDA_HOME points to a wrong"
        " folder, or the image has no nvcc",
        "set CUDA_HOME: /usr/local/cuda in vllm_extra_env (a path in the container, without a colon before it). If nvcc"
        " is not there either, use an image with the CUDA toolkit (vllm_image; NGC images have it), or"
        f" {NO_FLASHINFER}; that keeps image and model",
        versions="FlashInfer 0.5 to 0.6, PyTorch",
        known="report",
        source="vllm-project/vllm#36077",
        sets=((ENV, "CUDA_HOME", "/usr/local/cuda"),),
    ),
    Signature(
        "nvcc_missing",
        "fatal",
        "compiler",
        ("nvcc", "cuda_home"),
        r"Could not find nvcc|nvcc: (?:command )?not found|No such file or directory: '?[^'\n]{0,80}nvcc'?"
        r"|CUDA_HOME environment variable is not set|default cuda_home='(?P<home>[^']{1,80})' doesn't exist",
        "FlashInfer or PyTorch compiles a kernel at the start, and the image has no nvcc",
        f"use an image with the CUDA toolkit (vllm_image; NGC images have it), or {NO_FLASHINFER}; that keeps image"
        " and model",
        versions="vllm/vllm-openai, FlashInfer 0.5 to 0.7",
        known="report",
        source="gpustack/gpustack#3656, vllm-project/vllm#50705",
        sets=((ENV, "VLLM_USE_FLASHINFER_SAMPLER", "0"),),
    ),
    Signature(
        "cuda_toolkit_old",
        "fatal",
        "compiler",
        ("requires cuda >=", "unsupported gpu architecture", "nvcc fatal"),
        r"SM ?1[0-9.x]+ requires CUDA >= (?P<need>[\d.]+)"
        r"|nvcc fatal\s*: Unsupported gpu architecture '(?P<need_2>\w+)'",
        "the CUDA toolkit of this image is too old to compile for the GB10 ({need})",
        f"{NO_FLASHINFER}; or use an image with CUDA 13 (vllm_image)",
        versions="FlashInfer 0.6 with CUDA before 12.9",
        known="report",
        source="vllm-project/vllm#50705",
        sets=((ENV, "VLLM_USE_FLASHINFER_SAMPLER", "0"),),
    ),
    Signature(
        "ptxas_sm121",
        "exit",
        "compiler",
        ("ptxas", "is not defined for option 'gpu-name'"),
        r"ptxas[\w-]* (?:fatal|error)\s{0,4}:\s{0,4}Value '(?P<arch>sm_\w+)' is not defined for option 'gpu-name'"
        r"|ptxas[\w-]* (?:fatal|error)\s{0,4}:\s{0,4}Unsupported \.(?:version|target)",
        "the ptxas that Triton brings in this image does not know the GPU ({arch})",
        "set TRITON_PTXAS_PATH: /usr/local/cuda/bin/ptxas in vllm_extra_env (if the line says ptxas-blackwell:"
        " TRITON_PTXAS_BLACKWELL_PATH, the same path); it keeps image and model. A newer vllm_image is the second"
        " choice",
        versions="Triton 3.4 to 3.6; vllm/vllm-openai nightly-aarch64 (vLLM 0.11.2)",
        known="report",
        source="vllm-project/vllm#30163",
        refines=("compiler", "kernel", "ptxas_failed"),
        sets=((ENV, "TRITON_PTXAS_PATH", "/usr/local/cuda/bin/ptxas"),),
    ),
    Signature(
        "ptxas_registers",
        "exit",
        "kernel",
        ("register allocation failed",),
        r"Register allocation failed with register count of '(?P<count>\d+)'",
        "a Triton kernel of this image needs more registers than the GPU has for one thread ({count})",
        "use another vllm_image, whose vLLM or Triton cuts the kernel smaller; until then set the option that leaves"
        " this kernel out (attention_backend, moe_backend or linear_backend in vllm_extra_args), by what the trace"
        " names. Another ptxas helps only if it is newer (TRITON_PTXAS_PATH: /usr/local/cuda/bin/ptxas in"
        " vllm_extra_env)",
        versions="Triton 3.4 to 3.7, ptxas of CUDA 13",
        known="report",
        source="ptxas, C7600",
        refines=("compiler", "kernel", "ptxas_failed"),
    ),
    Signature(
        "ptxas_failed",
        "exit",
        "compiler",
        ("ptxaserror", "ptxas", "ptx codegen error"),
        r"PTXASError|Internal Triton PTX codegen error|ptxas(?:-blackwell)?'?,? .{0,80}?(?:returned non-zero|failed"
        r"|not found)"
        r"|No such file or directory: '[^']{0,200}ptxas[\w-]*'|Cannot find ptxas",
        "Triton's ptxas of this image cannot compile for the GPU",
        "set TRITON_PTXAS_PATH: /usr/local/cuda/bin/ptxas (and TRITON_PTXAS_BLACKWELL_PATH, the same path) in"
        " vllm_extra_env; it keeps image and model. A newer vllm_image is the second choice",
        versions="Triton 3.4 to 3.6",
        known="report",
        source="vllm-project/vllm#30163; triton/runtime/errors.py",
        generic=True,
        sets=((ENV, "TRITON_PTXAS_PATH", "/usr/local/cuda/bin/ptxas"),),
    ),
    Signature(
        "python_headers",
        "exit",
        "compiler",
        ("fatal error:",),
        r"fatal error: (?P<header>[\w./+-]+\.(?:h|hpp|cuh)): No such file or directory",
        "a kernel or helper cannot be compiled in the image: the header {header} is missing",
        "use another vllm_image that has it (Python.h: the Python headers; cuda.h, cublas_v2.h, curand.h: the CUDA"
        " toolkit); options, model and memory are not the cause. enforce_eager: true in vllm_extra_args avoids some"
        " compilations",
        versions="Triton 3, FlashInfer 0.5 to 0.7",
        known="report",
        source="public log; triton/runtime/build.py",
        refines=("compiler", "kernel", "image"),
    ),
    Signature(
        "c_compiler_missing",
        "exit",
        "compiler",
        (
            "failed to find c compiler",
            "'gcc'",
            "'cc'",
            "'g++'",
            "c++'",
            "clang",
            "/gcc",
            "/g++",
            "/cc",
            "gcc-",
            "g++-",
            "cc-",
            "c++-",
            "invalidcxxcompiler",
            "invalidcxx",
            "no working c++ compiler",
        ),
        r"Failed to find C compiler|No such file or directory: '(?:[\w/.-]*/)?(?:gcc|g\+\+|cc|c\+\+|clang)(?:-\d+)?'"
        r"|InvalidCxxCompiler|No working C\+\+ compiler found",
        "Triton or PyTorch compiles a helper at the start, and the image has no C compiler",
        "use another vllm_image (NGC images have gcc), or set enforce_eager: true in vllm_extra_args; options, model"
        " and"
        " memory are not the cause",
        versions="Triton 3, PyTorch Inductor",
        known="report",
        source="triton/runtime/build.py",
    ),
    Signature(
        "linker_library",
        "exit",
        "compiler",
        ("cannot find -lcu", "cannot find -lnv"),
        r"ld(?:\.\w+)?: cannot find -l(?P<library>(?:cu|nv)\w+)",
        "a kernel or helper cannot be linked in the image: the library {library} has no file that the linker finds",
        "set LIBRARY_PATH: /usr/local/cuda/lib64/stubs in vllm_extra_env (images with the CUDA toolkit have libcuda"
        " there), and check that vllm_gpu is not none; else use another vllm_image. Memory is not the cause",
        versions="Triton 3, PyTorch Inductor",
        known="report",
        source="vllm-project/vllm#16984, #11643",
        refines=("compiler", "kernel", "helper_not_compiled"),
        sets=((ENV, "LIBRARY_PATH", "/usr/local/cuda/lib64/stubs"),),
    ),
    Signature(
        "compiler_killed",
        "fatal",
        "memory",
        ("died due to signal 9", "killed signal terminated program"),
        r"(?:'(?P<program>\w+)' )?died due to signal 9|Killed signal terminated program (?P<program_2>\w+)",
        "a compiler was killed for lack of memory while it built a kernel ({program}): it runs once for each processor",
        "set MAX_JOBS: 2 in vllm_extra_env, stop what else uses the memory, and deploy again: what was compiled is kept"
        " in the cache folder of vllm_home",
        versions="FlashInfer 0.5 to 0.6 on 20 processors",
        known="report",
        source="FlashInfer's JIT with ninja; CUDA's nvcc",
        refines=("compiler", "helper_not_compiled"),
        sets=((ENV, "MAX_JOBS", "2"),),
    ),
    Signature(
        "nvcc_refuses",
        "exit",
        "compiler",
        ("nvcc fatal",),
        r"nvcc fatal\s{0,4}: (?P<detail>(?!Unsupported gpu arch)[^\n]{1,160})",
        "nvcc of this image does not compile what FlashInfer or PyTorch asks for: {detail}",
        "use another vllm_image, whose CUDA toolkit and FlashInfer are of one age; until then set"
        " VLLM_USE_FLASHINFER_SAMPLER: 0 in vllm_extra_env, and moe_backend: marlin and attention_backend: TRITON_ATTN"
        " in vllm_extra_args, so that less is compiled; keep NVCC_APPEND_FLAGS and NVCC_PREPEND_FLAGS out of"
        " vllm_extra_env",
        versions="FlashInfer 0.6.18 with CUDA before 12.8",
        known="report",
        source="flashinfer-ai/flashinfer#5479",
        refines=("compiler", "helper_not_compiled"),
    ),
    Signature(
        "triton_compiler",
        "exit",
        "compiler",
        ("passmanager::run failed", "llvm error:"),
        # of LLVM, too: a disk that is full, a limit of threads, memory, or a pipe that is not read any more
        r"PassManager::run failed|LLVM ERROR: (?P<detail>(?!IO failure|pthread_|out of memory)[^\n]{1,160})",
        "Triton of this image cannot compile a kernel for the GPU: {detail}",
        "set moe_backend: marlin (attention: attention_backend: FLASHINFER) in vllm_extra_args, by the kernel that the"
        " log names; it keeps image and model. A newer vllm_image, with a newer Triton, is the second choice",
        versions="Triton 3.3 to 3.6 on Blackwell",
        known="source",
        source="triton/backends/nvidia/compiler.py",
        refines=("compiler", "kernel"),
    ),
    Signature(
        "helper_not_compiled",
        "exit",
        "compiler",
        ("calledprocesserror", "error building extension", "ninja", "cppcompileerror", "compilationerror", "nvrtc"),
        r"CalledProcessError: Command '?\[?'?(?P<program>[\w./+-]*(?:gcc|g\+\+|cc|c\+\+|nvcc|ninja|clang|cicc|ptxas)\b)"
        r"|Error building extension '(?P<program_2>[\w.-]+)'|[Nn]inja(?: build)? (?:failed|is required|stopped)"
        r"|ninja: build stopped|CppCompileError|nvrtc\w*: error|NVRTC_ERROR_\w+"
        r"|No such file or directory: '[\w/.-]*ninja'",
        "a kernel or helper could not be compiled in the image ({program})",
        "use another vllm_image: compiler, headers or CUDA toolkit are missing or too old in this one; or set"
        " VLLM_USE_FLASHINFER_SAMPLER: 0 in vllm_extra_env and enforce_eager: true in vllm_extra_args, so that less is"
        " compiled. Memory is not the cause",
        versions="Triton 3, FlashInfer 0.5 to 0.7, PyTorch Inductor",
        known="report",
        source="public log; vllm-project/vllm#50705",
        generic=True,
    ),
)
