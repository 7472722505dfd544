# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that does not fit itself, and the compilers in it."""

from __future__ import annotations

from ..entries import Signature

ENV = "vllm_extra_env"
NO_FLASHINFER = (
    "set VLLM_USE_FLASHINFER_SAMPLER: 0 in vllm_extra_env and moe_backend: marlin in vllm_extra_args (before vLLM 0.24"
    " VLLM_USE_FLASHINFER_MOE_FP4: 0 in vllm_extra_env), so that nothing is compiled"
)
OTHER_IMAGE = "use another vllm_image (the catalog lists good ones); options, model and memory are not the cause"

IMAGE: tuple[Signature, ...] = (
    Signature(
        "undefined_symbol",
        "fatal",
        "image",
        ("undefined symbol", "symbol lookup error", "version `"),
        r"(?P<file>[^\s:'\"]{1,200}\.so[\w.]{0,40}): (?:undefined symbol: (?P<symbol>\w+)"
        r"|version `[^']{1,60}' not found)|undefined symbol: (?P<name>\w+)|symbol lookup error|version `GLIBC\w*",
        "vLLM, PyTorch or another library of this image do not match each other (a symbol is missing)",
        OTHER_IMAGE,
        versions="images that were changed with pip",
        known="report",
        source="public log; vllm-project/vllm#31018",
    ),
    Signature(
        "library_missing",
        "fatal",
        "image",
        ("cannot open shared object file",),
        r"(?P<library>(?!libcuda\.so|libnvidia-ml)[\w.+-]{1,120}\.so[\w.]{0,40})(?: \(deleted\))?"
        r": cannot open shared object file",
        "the image lacks the library {library}: vLLM and CUDA or PyTorch in it do not match",
        OTHER_IMAGE,
        versions="vLLM 0.13 to 0.23 with another CUDA",
        known="report",
        source="vllm-project/vllm#52300, #36099, #31018",
    ),
    Signature(
        "static_tls",
        "fatal",
        "image",
        ("in static tls block",),
        r"(?P<library>/\S{1,300}?): cannot allocate memory in static TLS block",
        "a library of the image is loaded too late for the loader of arm64 ({library}); memory is not the cause",
        "set LD_PRELOAD in vllm_extra_env to that library, {library}, or use another vllm_image",
        versions="glibc on arm64; libgomp of PyTorch and scikit-learn",
        known="report",
        source="NVIDIA/DALI#5519, apache/tvm#12554",
    ),
    Signature(
        "package_versions",
        "fatal",
        "image",
        (
            "does not match",
            "is required for a normal functioning",
            "distributionnotfound",
            "packagenotfounderror",
            "versionconflict",
        ),
        r"(?P<package>flashinfer[\w-]*) version \([^)]{1,40}\) does not match (?P<other>\S+ version \([^)]{1,40}\))",
        "FlashInfer and {package} in the image have different versions ({other})",
        "set FLASHINFER_DISABLE_VERSION_CHECK: 1 in vllm_extra_env; it keeps image and model. Another vllm_image is the"
        " second choice",
        versions="FlashInfer 0.6.13 with 0.6.16",
        known="report",
        source="public log; flashinfer/__init__.py",
        sets=((ENV, "FLASHINFER_DISABLE_VERSION_CHECK", "1"),),
    ),
    Signature(
        "package_requirement",
        "fatal",
        "image",
        (
            "is required for a normal functioning",
            "packagenotfounderror",
            "versionconflict",
            "please install",
            "pip install",
        ),
        r"(?P<package_2>[\w.\[\]-]{1,80}[<>=!~]{1,2}[\w.,<>=!~ ]{1,60}) is required for a normal functioning"
        r" of this module(?:, but found (?P<have>\S+))?|PackageNotFoundError: (?:No package metadata was found for"
        r" )?(?P<package>[\w.-]+)"
        r"|VersionConflict",
        "the image has a version of a Python package that another package rejects ({package})",
        OTHER_IMAGE,
        versions="transformers, importlib.metadata",
        known="source",
        source="transformers/utils/versions.py",
    ),
    Signature(
        "package_extra",
        "fatal",
        "image",
        ("please install vllm[",),
        r"Please install vllm\[(?P<package>[\w-]{1,40})\]",
        "the image lacks the Python packages that vLLM calls vllm[{package}], which the model or an option needs",
        "remove the option that needs them from vllm_extra_args (fastsafetensors, runai, tensorizer: set load_format:"
        " auto), or use a vllm_image that has them: build one from the present one with RUN pip install"
        " 'vllm[{package}]'",
        versions="vLLM 0.10 to 0.33",
        known="source",
        source="vllm/utils/import_utils.py: PlaceholderModule",
    ),
    Signature(
        "python_module",
        "fatal",
        "image",
        ("no module named", "cannot import name", "failed to import"),
        r"(?:ModuleNotFoundError: |ImportError: )"
        r"(?:No module named '(?P<module>(?!huggingface_hub|_hf_|transformers_modules)[\w.]+)'"
        r"|cannot import name '(?P<module_2>\w+)' from '(?P<origin>[\w.]+)')",
        "a Python module of this image is missing or has another version than vLLM needs ({module})",
        f"{OTHER_IMAGE}; remove the plugin or option (such as moe_backend) that needs the module, if you set one in"
        " vllm_extra_args or vllm_extra_env",
        versions="vLLM 0.24 without FlashInfer",
        known="seen",
        source="H200 run of vLLM 0.24",
        generic=True,
    ),
    Signature(
        "image_file_missing",
        "fatal",
        "image",
        ("[errno 2] no such file or directory",),
        r"\[Errno 2\] No such file or directory: '(?P<path>[^']{0,200}/(?:dist|site)-packages/[^']{1,300})'",
        "the image lacks files of a Python package: {path}",
        OTHER_IMAGE,
        versions="FlashInfer without its sources",
        known="report",
        source="public log",
    ),
    Signature(
        "ops_missing",
        "fatal",
        "image",
        ("_opnamespace", "named 'vllm._", "operator ", "could not run ", "could not find "),
        r"'_OpNamespace' '?(?P<space>\w+)'? object has no attribute '(?P<op>\w+)'|No module named 'vllm\._\w+'"
        r"|(?:operator|Could not (?:run|find)) '?(?P<op_2>\w+::\w+)'? (?:does not exist|schema)",
        "vLLM's compiled kernels are missing in this image, or were built for another version ({op})",
        OTHER_IMAGE,
        versions="images with a vLLM that was built from source",
        known="report",
        source="vllm/_custom_ops.py",
    ),
    Signature(
        "numpy_version",
        "fatal",
        "image",
        ("numpy",),
        r"numpy\.(?:dtype|ufunc) size changed|A module that was compiled using NumPy 1\.x|Numba needs NumPy",
        "the image has a NumPy that another package was not built for",
        OTHER_IMAGE,
        versions="NumPy 2 with packages built for 1",
        known="report",
        source="NumPy's migration guide",
    ),
    Signature(
        "uid_without_name",
        "fatal",
        "image",
        ("uid not found", "getpwuid"),
        r"getpwuid\(\): uid not found: (?P<uid>\d+)",
        "the user that the container runs as ({uid}) has no name in the image",
        "set USER: vllm and TORCHINDUCTOR_CACHE_DIR: /root/.cache/torchinductor in vllm_extra_env, or run the container"
        " as root; it keeps image and model",
        versions="PyTorch Inductor, vLLM 0.10 to 0.24",
        known="report",
        source="Python pwd module; torch/_inductor/runtime/cache_dir_utils.py",
        sets=((ENV, "USER", "vllm"),),
    ),
    Signature(
        "compile_cache",
        "fatal",
        "compiler",
        (
            "checksum does not match",
            "compilation artifact",
            "internaltorchdynamoerror",
            "compile_cache",
            "torch_compile",
            "aot_compile",
            "inductor",
            "triton/cache",
            ".triton",
            ".cache/vllm",
            "eoferror",
            "unpicklingerror",
            "flashinfer",
        ),
        r"corrupted compilation artifact"
        r"|(?:No such file or directory|Directory not empty): '[^'\n]{0,200}(?:\.triton/cache|torch_compile_cache"
        r"|torchinductor|inductor_cache)/"
        r"|(?:torch_(?:aot_)?compile(?:_cache)?|compile_cache|inductor_cache|torchinductor|\.triton/cache|\.cache/vllm)"
        r"[\s\S]{0,400}?(?:EOFError|UnpicklingError|JSONDecodeError|Ran out of input|invalid load key|corrupt"
        r"|zip archive"
        r"|BadZipFile|truncated)"
        r"|(?:EOFError|UnpicklingError|Ran out of input|invalid load key|BadZipFile)[\s\S]{0,400}?"
        r"(?:compile_cache|inductor|\.triton|aot_compile)"
        r"|Bytes object is corrupted, checksum does not match"
        r"|Failed to import /[^\s:]{1,300}(?:compile_cache|inductor)[^\s:]{0,300}\.py"
        r"|module 'torch\._inductor\.runtime\.compile_tasks\.\w+' has no attribute"
        r"|(?:InternalTorchDynamoError|InductorError)[^\n]{0,80}?(?:EOFError|UnpicklingError|Ran out of input"
        r"|BadZipFile)",
        "the compile cache of an earlier start is damaged",
        "remove the folder torch_compile_cache (and triton) under the cache of vllm_home and deploy again; or set"
        " VLLM_DISABLE_COMPILE_CACHE: 1 in vllm_extra_env for one start",
        versions="vLLM 0.9 to 0.32",
        known="report",
        source="vllm/compilation/caching.py",
        sets=((ENV, "VLLM_DISABLE_COMPILE_CACHE", "1"),),
    ),
    Signature(
        "compile_cache_read",
        "fatal",
        "compiler",
        (
            "eoferror",
            "unpicklingerror",
            "jsondecodeerror",
            "ran out of input",
            "badzipfile",
            "pickle",
            "syntaxerror",
            "expected tensors only",
        ),
        r"Expected tensors only, but got"
        r"|^\w{0,60}\.?(?:EOFError|\w{0,60}(?:UnpicklingError|JSONDecodeError|BadZipFile)|SyntaxError)\b",
        "the compile cache of an earlier start is damaged, or of another image",
        "remove the folder torch_compile_cache (and triton) under the cache of vllm_home and deploy again; or set"
        " VLLM_DISABLE_COMPILE_CACHE: 1 in vllm_extra_env for one start",
        versions="vLLM 0.9 to 0.32",
        known="source",
        source="vllm/compilation/caching.py",
        frames=r"vllm/compilation/|torch/_inductor/(?:codecache|runtime/caching)|triton/runtime/cache"
        r"|_functorch/_aot_autograd|standalone_compile\.py:__call__|torch/_dynamo/aot_compile",
        sets=((ENV, "VLLM_DISABLE_COMPILE_CACHE", "1"),),
    ),
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
