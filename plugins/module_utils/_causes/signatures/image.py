# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that does not fit itself."""

from __future__ import annotations

from ..entries import Signature

ENV = "vllm_extra_env"
OTHER_IMAGE = "use another vllm_image (the catalog lists good ones); options, model and memory are not the cause"

# Modules that images of vLLM may lack, and which only an option imports: values of load_format and of kv_connector.
_LOADERS = ("fastsafetensors", "instanttensor", "runai_model_streamer", "tensorizer")
_CONNECTORS = ("lmcache", "mooncake", "nixl")

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
        "flashinfer_older",
        "fatal",
        "image",
        ("requires flashinfer", "flashinfer is too old", "flashinfer version"),
        r"(?P<part>[\w.-]{1,60}(?: on SM\d+)?) requires FlashInfer(?:'s|,? version| [<>=v\d])[^\n]{0,120}"
        r"|FlashInfer (?:is too old|version \S{1,20} is (?:too old|not supported|older))",
        "vLLM in this image needs a newer FlashInfer than the image has ({part})",
        "use a newer vllm_image, in which vLLM and FlashInfer are of one age; until then name another"
        " attention_backend, moe_backend or linear_backend in vllm_extra_args, whichever it is. Memory is not the"
        " cause",
        versions="vLLM 0.24 to 0.27 with FlashInfer before 0.6.14",
        known="report",
        source="SystemPanic/vllm-windows#59; vllm/models/deepseek_v4/nvidia/flashinfer_sparse.py",
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
        (
            "please install vllm[",
            "please install bitsandbytes",
            "please install mooncake",
            "nixl is not available",
            "opentelemetry is not available",
            *(f"no module named '{name}" for name in (*_LOADERS, *_CONNECTORS, "bitsandbytes", "opentelemetry")),
        ),
        r"Please install (?P<package>vllm\[(?P<extra>(?P<loader>fastsafetensors|instanttensor|runai|tensorizer)"
        r"|[\w-]{1,40})\])"
        # of a module below them the package is there, and its binary does not fit; opentelemetry is many packages
        rf"|(?:ModuleNotFoundError|ImportError): No module named '(?P<package_2>(?P<loader_2>{'|'.join(_LOADERS)})"
        rf"|(?P<connector>{'|'.join(_CONNECTORS)})|(?P<quantizer>bitsandbytes)|(?P<tracer>opentelemetry)[\w.]*)'"
        r"|Please install (?P<package_3>(?P<quantizer_2>bitsandbytes)|(?P<connector_2>mooncake))\b"
        r"|(?:Runtime|Value)Error: (?P<package_4>(?P<connector_3>NIXL)|(?P<tracer_2>OpenTelemetry)) is not available",
        "the image lacks a Python package that vLLM has as an option ({package}), which the model or one of"
        " vllm_extra_args needs",
        "take the option back that needs it, in vllm_extra_args (set load_format: auto, which reads the weights without"
        " {loader}) (remove kv_transfer_config, which names {connector}) (remove quantization: {quantizer}; a model"
        " that was quantized with it needs the package) (remove otlp_traces_endpoint, which needs {tracer}), or use a"
        " vllm_image that has the package: build one from the present one (RUN pip install 'vllm[{extra}]')",
        versions="vLLM 0.10 to 0.33",
        known="source",
        source="vllm/utils/import_utils.py: PlaceholderModule",
    ),
    Signature(
        "exchange_package",
        "fatal",
        "image",
        ("kernels not found", "all2all module", "module named 'deep_ep", "module named 'pplx_kernels"),
        r"(?P<package>DeepEP|pplx|MoRI|NIXL EP)[ -]kernels not found"
        r"|(?P<package_2>flashinfer) all2all module not found"
        r"|No module named '(?P<package_3>deep_ep|pplx_kernels)[\w.]*'",
        "all2all_backend names a way to exchange data between experts whose package the image lacks ({package})",
        "remove all2all_backend from vllm_extra_args and VLLM_ALL2ALL_BACKEND from vllm_extra_env"
        " (allgather_reducescatter, the default, needs no package); on hosts with one GPU each,"
        " enable_expert_parallel can go, too. An image that has the package is the second choice (vllm_image)",
        versions="vLLM 0.10 to 0.32",
        known="source",
        source="vllm/distributed/device_communicators/all2all.py",
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
        "remove the plugin or option (such as moe_backend) that needs the module, if you set one in vllm_extra_args or"
        " vllm_extra_env; otherwise use another vllm_image (the catalog lists good ones)",
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
