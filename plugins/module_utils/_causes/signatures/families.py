# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The net below the signatures: an exception that none of them knows is placed by class, module and path.

The first rule that matches counts. What a family says is a likelihood, and says so.
"""

from __future__ import annotations

from ..entries import Family, Rule

UNSURE = "No signature matches {exception}{where}: "

FAMILIES: tuple[Family, ...] = (
    Family(
        "stop_requested",
        "service",
        "the server was told to stop while it started",
        "start it again with playbooks/restart.yml (on the host: `systemctl enable --now UNIT`; {exception} is how vLLM"
        " ends on a signal)",
    ),
    Family(
        "docker_failed",
        "docker",
        "Docker or the container toolkit failed: {exception}",
        f"{UNSURE}it looks like a fault of Docker or the GPU runtime. Run playbooks/prepare.yml, check `journalctl"
        " -u docker`"
        " on the host, and deploy again; vllm_gpu selects nvidia or cdi",
    ),
    Family(
        "driver_failed",
        "driver",
        "the NVIDIA driver or CUDA could not be used: {exception}",
        f"{UNSURE}it looks like a fault of the driver. Check `nvidia-smi` and `dmesg` (NVRM, Xid) on the host and"
        " reboot it;"
        " then update the driver, or use an older vllm_image",
    ),
    Family(
        "network_failed",
        "network",
        "the hosts of the group could not exchange data: {exception}",
        f"{UNSURE}it looks like the network between the hosts. Check the log of the other host first; then"
        " NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME and VLLM_HOST_IP in vllm_extra_env, vllm_node_address,"
        " vllm_master_port, cable and firewall. On one host, remove tensor_parallel_size and pipeline_parallel_size"
        " from vllm_extra_args",
    ),
    Family(
        "hub_failed",
        "hub",
        "files could not be fetched from the hub: {exception}",
        f"{UNSURE}it looks like the hub or the way to it. Check name resolution, proxy and firewall of the host, and"
        " vllm_hf_token; vllm_hf_endpoint names a mirror; HF_HUB_DISABLE_XET: 1 in vllm_extra_env downloads without"
        " the Xet"
        " store; if the model is in hf_cache_path, set vllm_hf_offline: true",
    ),
    Family(
        "memory_failed",
        "memory",
        "memory ran out: {exception}",
        f"{UNSURE}it looks like a lack of memory. Lower vllm_gpu_memory_utilization, or max_num_seqs and"
        " max_num_batched_tokens in vllm_extra_args; stop what else uses the memory, and leave vllm_drop_page_cache on",
    ),
    Family(
        "compile_failed",
        "compiler",
        "a kernel or graph could not be compiled in the image: {exception}",
        f"{UNSURE}it looks like the compilers in the image. Set enforce_eager: true in vllm_extra_args, or"
        " VLLM_USE_FLASHINFER_SAMPLER: 0 and TRITON_PTXAS_PATH: /usr/local/cuda/bin/ptxas in vllm_extra_env; remove the"
        " compile caches under vllm_home; then use another vllm_image",
    ),
    Family(
        "kernel_failed",
        "kernel",
        "a kernel or backend of this image does not run with this model on the GB10: {exception}",
        f"{UNSURE}it looks like a kernel or backend. Set moe_backend: marlin and linear_backend: marlin (attention:"
        " attention_backend: TRITON_ATTN) in vllm_extra_args, or VLLM_USE_DEEP_GEMM: 0 in vllm_extra_env (before vLLM"
        " 0.24 VLLM_USE_FLASHINFER_MOE_FP4: 0 and VLLM_USE_FLASHINFER_MOE_FP8: 0, too), by what the trace names; they"
        " keep image and model. Then use a newer vllm_image",
    ),
    Family(
        "marlin_failed",
        "kernel",
        "the Marlin kernels do not run with this model: {exception}",
        f"{UNSURE}it looks like Marlin. If linear_backend: marlin or moe_backend: marlin is set in vllm_extra_args, set"
        " triton or auto there; it keeps image and model. Then use a newer vllm_image, or a checkpoint with another"
        " quantization (vllm_model)",
    ),
    Family(
        "image_broken",
        "image",
        "parts of this image do not match each other: {exception}",
        f"{UNSURE}it looks like a broken image. Use another vllm_image (the catalog lists good ones); remove a"
        " plugin or"
        " option that needs the missing part from vllm_extra_args or vllm_extra_env. Memory is not the cause",
    ),
    Family(
        "model_unfit",
        "model",
        "this image's transformers or vLLM cannot read the model's configuration, tokenizer or processor: {exception}",
        f"{UNSURE}it looks like a model and an image of different age. Use a newer vllm_image, or another checkpoint"
        " of the model (vllm_model); drop hf_overrides from vllm_extra_args if you have set it",
    ),
    Family(
        "weights_unfit",
        "weights",
        "the weights of the model could not be loaded: {exception}",
        f"{UNSURE}it looks like a checkpoint that this vLLM cannot load. Use a newer vllm_image, or another"
        " checkpoint of the"
        " model (vllm_model); remove quantization and load_format from vllm_extra_args. Download the model again"
        " only if"
        " playbooks/stage.yml finds files missing",
    ),
    Family(
        "files_failed",
        "files",
        "a file could not be read or written: {exception}",
        f"{UNSURE}it looks like files or folders. Check that the path is there as the container sees it"
        " (hf_cache_path is"
        " /root/.cache/huggingface, the cache folder of vllm_home is /root/.cache), who owns it (hf_cache_owner,"
        " hf_cache_group, hf_cache_mode), and that the disk has room",
    ),
    Family(
        "option_rejected",
        "option",
        "vLLM rejects an option or a combination of options: {exception}",
        f"{UNSURE}it looks like an option. Correct it in vllm_extra_args, vllm_extra_env or the profile; `null`"
        " drops an"
        " option of the profile; a newer vllm_image may know it",
    ),
    Family(
        "request_failed",
        "request",
        "a request failed: {exception}",
        f"{UNSURE}it belongs to one request, and the server continues. Correct the request; nothing has to be deployed",
    ),
    Family(
        "vllm_fault",
        "engine",
        "vLLM itself failed, probably by a fault of this version with this model: {exception}",
        f"{UNSURE}it looks like a fault of this vLLM. Use another vllm_image; until then try without the options"
        " that you"
        " added in vllm_extra_args, and with enforce_eager: true. Memory is not the cause",
    ),
    Family(
        "unknown_exception",
        "unknown",
        "vLLM ended with an exception that this collection cannot place: {exception}",
        f"{UNSURE}the cause is uncertain. Try without the options that you added in vllm_extra_args and"
        " vllm_extra_env, then"
        " another vllm_image, then another vllm_model",
    ),
)

_NAMES = r"(?:^|\.)"  # a class, with or without its module
RULES: tuple[Rule, ...] = (
    # --- told by the class alone, or by words that nothing else uses ---------------------------------------------
    Rule("stop_requested", name=r"^(?:KeyboardInterrupt|SystemExit|GeneratorExit)$|CancelledError$"),
    Rule("docker_failed", text=r"Error response from daemon|OCI runtime|nvidia-container|containerd|docker daemon"),
    Rule("option_rejected", text=r"\bVLLM_[A-Z0-9_]{3,60}=\S{1,40} (?:requires|needs|must|cannot|is not)\b"),
    Rule("memory_failed", name=r"OutOfMemory\w*$|^MemoryError$|bad_alloc"),
    Rule(
        "memory_failed",
        text=r"out of memory|not enough (?:free )?(?:GPU |device |system )?memory|cannot allocate|can't allocate"
        r"|insufficient (?:GPU |device )?memory|\bOOM\b|memory (?:allocation|pool) .{0,40}(?:failed|exhausted)"
        r"|KV cache memory|gpu_memory_utilization|\bKV cache\b[^\n]{0,60}? [GM]iB\b|\b[GM]iB\b[^\n]{0,60}?\bKV cache\b",
    ),
    Rule(
        "network_failed",
        name=rf"^torch\.distributed\.|{_NAMES}(?:Dist\w+Error|nccl\w*Error|Nccl\w*|Gloo\w*)$|^ray\.exceptions\."
        rf"|^c10::Dist",
    ),
    Rule(
        "network_failed",
        text=r"\bNCCL\b|\bnccl[A-Z]|\bgloo\b|TCPStore|nvshmem|ProcessGroup|all_?reduce|all_?gather|RDMA|ibv_|InfiniBand"
        r"|\bRay (?:cluster|node|actor)|master_addr|rendezvous|process group|placement group",
    ),
    Rule("network_failed", name=r"^(?:zmq|nixl)\."),
    # the ports that Ray was told to use
    Rule("option_rejected", name=r"^ValueError$", inner=r"ray/_private/parameter"),
    # not while it is imported: nothing is exchanged then; a worker of Ray is a script
    Rule(
        "network_failed",
        inner=r"\A(?![\s\S]*(?<!default_worker\.py):<module>: )[\s\S]*?"
        r"(?:torch/distributed/|pynccl|/ray/|distributed/parallel_state)",
    ),
    Rule("driver_failed", name=r"NVMLError\w*$|CudaDriverError$"),
    Rule(
        "driver_failed",
        text=r"\bNVML\b|nvidia driver|NVIDIA[- ]SMI|CUDA driver (?:version|initialization)|cudaGetDeviceCount"
        r"|CUDA (?:unknown|initialization) error|initialization error|no CUDA-capable|libcuda\.so|libnvidia-|nvidia-uvm"
        r"|cudaErrorInitialization|cudaErrorSystem|cudaErrorDevices|system not yet initialized|busy or unavailable",
    ),
    Rule("files_failed", name=r"CacheNotFound$|CorruptedCacheException$"),
    Rule("model_unfit", name=r"(?:^|\.)StrictDataclass\w+Error$"),  # of config.json, though the hub's client checks it
    # the class of a client of the hub tells more than its text, in which the model's name may be that of a kernel
    Rule(
        "hub_failed",
        name=r"^(?:huggingface_hub|requests|httpx2?|httpcore2?|urllib3|aiohttp|hf_xet)\.",
        text=r"^(?![\s\S]*(?:\[Errno (?:5|13|17|20|21|24|27|28|30|36|37|116|122)\]|\(os error (?:5|13|28|30|122)\)))",
    ),
    # --- a damaged part of the image -----------------------------------------------------------------------------
    # raised while a module is imported: nothing of the model or the options is at work yet
    Rule(
        "image_broken",
        inner=r"/(?:dist|site)-packages/(?![^\n]{0,200}(?:cli/main|api_server|transformers_modules|default_worker))"
        r"[^\n:]*:<module>: ",
        name=r"^(?!torch\.|ModuleNotFoundError|KeyboardInterrupt)",
    ),
    # the code of a quantization that brings compiled libraries of its own
    Rule("image_broken", inner=r"/(?:bitsandbytes|torchao|gptqmodel|auto_round|autoawq|awq_ext|exllamav2)/"),
    Rule(
        "image_broken",
        name=r"^(?:ModuleNotFoundError|ImportError|ZipImportError)$|PackageNotFoundError$|VersionConflict$",
    ),
    Rule(
        "image_broken",
        text=r"undefined symbol|shared object file|\.so(?:\.\d+)*: |symbol lookup|ABI (?:mismatch|version)|GLIBC"
        r"|incompatible with (?:your|the) (?:installed|current)|requires? \S+ ?[<>=!~]=|version (?:conflict|mismatch)"
        r"|versions? .{0,60}(?:does|do) not match|was compiled (?:with|using|for)|compiled against"
        r"|please (?:re)?install"
        r"|pip install|not installed|to be installed|has no attribute '__version__'|dlopen|cannot import",
    ),
    Rule(
        "image_broken",
        text=r"'?(?:/usr/(?:local/)?lib|/opt/(?:venv|conda))\S*/(?:dist|site)-packages/",
        name=r"^(?:FileNotFound|NotADirectory|IsADirectory|OS)Error$",
    ),
    Rule(
        "image_broken",
        name=r"^AttributeError$",
        text=r"(?:partially initialized )?module '[\w.]+' has no attribute|_OpNamespace|torch\.ops",
    ),
    # code that calls a kernel of another package, which takes other arguments: one of the two is of another age
    Rule(
        "image_broken",
        name=r"^TypeError$",
        text=r"got an unexpected keyword argument|takes \d+ positional arguments? but|required positional argument",
        inner=r"vllm/(?:v1/(?:attention|sample)|model_executor/(?:layers|kernels|warmup)|models/\w+/\w+|_custom_ops"
        r"|utils/(?:flashinfer|deep_gemm)|third_party)",
    ),
    # --- compilers and kernels -----------------------------------------------------------------------------------
    # compiled code that names what is not there; what its kernels raise is a kernel's fault
    Rule(
        "compile_failed",
        name=r"^(?:Name|Attribute|Assertion|Type)Error$",
        inner=r"inductor_cache/|torch_compile_cache/",
    ),
    # an architecture that the compiler of a kernel does not take: another kernel does without it
    Rule(
        "kernel_failed",
        name=r"^(?:cutlass|triton|flashinfer|tilelang)\.",
        text=r"\bsm_?(?:1[0-2]\d|[89]\d)\w?\b|compute capability",
    ),
    Rule("kernel_failed", text=r"\bsm_?(?:1[0-2]\d|[89]\d)\w?\b", inner=r"cutlass/cute/"),
    # a check of a compiled kernel, not of its compiler
    Rule("kernel_failed", name=r"^tvm(?:_ffi)?\.", inner=r"\.cuh?:|flashinfer/(?!jit)"),
    Rule("kernel_failed", name=r"^tvm(?:_ffi)?\.", text=r"\bCUDA_(?:ERROR|SUCCESS)|\bcudaError"),
    # the code that is compiled fails already with shapes alone
    Rule("vllm_fault", name=r"\bTorchRuntimeError$", text=r"fake tensor"),
    Rule(
        "compile_failed",
        name=r"InductorError$|BackendCompilerFailed$|PTXASError$|CompilationError$|CompileError$|CppCompileError$"
        r"|NVRTC\w*$|UnsupportedLanguageConstruct$|^torch\._dynamo\.exc\.|TritonMissing$|InvalidCxx\w*$|MLIRError$"
        r"|DSL\w*Error$",
    ),
    Rule(
        "compile_failed",
        text=r"\bnvcc\b|\bninja\b|\bptxas\b|\bgcc\b|g\+\+|\bnvrtc\b|CUDA_HOME|cuda_home|C compiler|C\+\+ compiler|cicc"
        r"|fatal error: |compilation (?:failed|error)|failed to compile|JIT (?:compil|build)|building extension|PTX\b"
        r"|MLIR"
        r"|torch\.compile|inductor|dynamo|TORCH_CUDA_ARCH_LIST",
    ),
    Rule(
        "compile_failed",
        inner=r"torch/utils/cpp_extension|flashinfer/jit|triton/(?:runtime/build|compiler|backends)"
        r"|torch/_(?:inductor|dynamo)/(?!standalone_compile\.py:__call__|output_code|utils\.py:run)"
        r"|vllm/compilation/|cutlass/(?:base_dsl|cute)|tilelang|tvm",
    ),
    # vLLM says of the checkpoint itself what it lacks
    Rule(
        "weights_unfit",
        text=r"\bcheckpoint\b[^\n]{0,60}\b(?:incomplete|missing|has no|have no|lacks?|does not (?:have|contain|include)"
        r"|did not contain|expects?|unexpected|zero or non-finite)",
        name=r"^(?:Value|Key|Runtime|Assertion|Attribute)Error$",
    ),
    Rule("marlin_failed", name=r"^(?:Runtime|Value|Assertion|NotImplemented)Error$", inner=r"marlin"),
    Rule(
        "kernel_failed",
        name=r"AcceleratorError$|CUDAError$|OutOfResources$|CudaError$|^cutlass\.|^flashinfer\.|^triton\.|TVMError$",
    ),
    Rule(
        "kernel_failed",
        text=r"cutlass|flashinfer|deep_?gemm|\bmarlin\b|tensorrt_llm|trtllm|\bsm_?(?:1[0-2]\d|[89]\d|1[0-2]\.\d)\w?\b"
        r"|compute capability|device capability|CUDA error|CUBLAS|CUDNN|cudnn|cublas|kernel (?:launch|image|for|not"
        r"|config)"
        r"|no (?:suitable |valid |available )?(?:kernel|backend)|backend.{0,80}(?:not (?:support|available|valid)"
        r"|unsupported)"
        r"|(?:not support|unsupported).{0,60}(?:backend|kernel|GPU|architecture \d|capability)|flash_?attn"
        r"|FlashAttention|FlashMLA"
        # not in the name of a model
        r"|(?<![-/.])(?:nvfp4|mxfp[48]|\bfp4\b|w8a8|w4a16)(?![-/])|scaled_mm|fused_moe|MoE (?:kernel|backend)"
        r"|invalid device function",
    ),
    # a layer that is built or filled, not computed
    Rule(
        "weights_unfit",
        name=r"^(?:Value|NotImplemented|Assertion|Key|Runtime)Error$",
        frames=r"initialize_model|create_weights|load_weights",
        inner=r"layers/quantization/",
    ),
    Rule(
        "kernel_failed",
        inner=r"(?:^|/)(?:flashinfer|deep_gemm|cutlass|triton|flash_attn|vllm_flash_attn|flash_mla|triton_kernels)/"
        r"|vllm/_custom_ops|fused_moe|/kernels?/|scaled_mm|attention/(?:backends|ops)|quantization/utils"
        r"|vllm/third_party|torch\.ops\._\w*C\b|torch\.ops\._moe_C"
        r"|layers/mamba/ops|layers/fla/",
    ),
    # --- files: the operating system's numbers tell more than whoever met them --------------------------------------
    Rule("files_failed", text=r"\[Errno (?:5|13|17|20|21|24|27|28|30|36|37|116|122)\]|\(os error (?:5|13|28|30|122)\)"),
    # --- the hub -------------------------------------------------------------------------------------------------
    Rule(
        "hub_failed",
        name=r"^(?:huggingface_hub|requests|httpx2?|httpcore2?|urllib3|aiohttp|hf_xet|urllib|http\.client|h11|h2)\."
        r"|^(?:ssl|socket)\.|^(?:HTTPError|URLError|SSLError|RemoteDisconnected|IncompleteRead)$",
    ),
    Rule("model_unfit", text=r"does not appear to have (?:a file|files|any file) named"),
    Rule(
        "hub_failed",
        text=r"huggingface\.co|hf\.co|\bthe Hub\b|Hugging ?Face Hub|\bCAS\b|\bxet\b|HTTP(?:S)?ConnectionPool"
        r"|https?://\S+/resolve/"
        r"|\b(?:40[1347]|429|5\d\d) (?:Client|Server) [Ee]rror|SSL: |openaipublic|modelscope|snapshot_download",
    ),
    Rule("hub_failed", inner=r"huggingface_hub/|hf_xet|/requests/|/httpx/|/httpcore/|/urllib3/|urllib/request"),
    # --- weights, model, files -----------------------------------------------------------------------------------
    Rule("option_rejected", inner=r"vllm/lora/"),
    Rule("model_unfit", inner=r"vllm/multimodal/(?:process|profil|registry|budget)"),
    Rule("model_unfit", inner=r"vllm/tokenizers|vllm/transformers_utils/(?:tokenizer|processor)|(?:^|/)jinja2/"),
    Rule("weights_unfit", name=r"SafetensorError$|UnpicklingError$|^safetensors"),
    Rule(
        "weights_unfit",
        text=r"safetensors|checkpoint|state_dict|\bshard|weight_scale|layers\.\d+\.|\bgguf\b|size mismatch for"
        r"|weight_loader"
        r"|quant(?:ization)?_config|load_weights",
    ),
    Rule(
        "weights_unfit",
        frames=r"load_weights|weight_loader|model_loader/|load_model|weight_utils|process_weights_after_loading",
        inner=r"vllm/|safetensors/|torch/",
        name=r"^(?:Key|Value|Runtime|Attribute|Assertion|Index|Type|NotImplemented)Error$",
    ),
    Rule(
        "files_failed",
        name=r"^(?:FileNotFound|Permission|IsADirectory|NotADirectory|FileExists|BlockingIO)Error$|JSONDecodeError$"
        r"|^UnicodeDecodeError$|BadZipFile$|^EOFError$",
    ),
    Rule(
        "files_failed",
        text=r"\[Errno (?:1|2|5|13|17|20|21|22|23|24|27|28|30|36|116|122)\]|No such file|Permission denied"
        r"|Read-only file system|Disk quota|Input/output error|Too many open files",
    ),
    # the name of a model type that transformers does not have; a list where an older transformers expects a dictionary
    Rule("model_unfit", name=r"^KeyError$", text=r"^KeyError: '[a-z]+[a-z_-]*\d[\w.-]*'$"),
    Rule(
        "model_unfit",
        name=r"^AttributeError$",
        text=r"'(?:list|dict|NoneType)' object has no attribute '(?:keys|items)'",
    ),
    Rule(
        "model_unfit",
        text=r"transformers|tokeniz|\bprocessor\b|model_type|architectures?\b|config\.json|AutoModel|AutoConfig"
        r"|AutoTokenizer"
        r"|auto_map|PretrainedConfig|chat template|rope_|hf_config|\wConfig'? object has no attribute"
        r"|vocab(?:ulary)?\b",
    ),
    Rule(
        "model_unfit",
        inner=r"(?:^|/)(?:transformers|tokenizers|mistral_common|sentencepiece|tiktoken|openai_harmony"
        r"|transformers_modules)/"
        r"|vllm/transformers_utils|vllm/tokenizers|models/registry",
    ),
    # a value of the model's config.json that the code of its architecture does not have
    Rule(
        "model_unfit",
        name=r"^(?:Value|NotImplemented|Runtime|Assertion)Error$",
        text=r"\b(?:layer|block|mixer|attention|attn|norm|ffn|router|scoring|activation|position\w*)_(?:type|func\w*|fn"
        r"|act|impl\w*)\b"
        r"|Error: (?:Invalid|Unknown|Unsupported)\b(?![^\n]*(?:--|kv_cache|dtype|quant|parallel|lora|backend))",
        inner=r"vllm/model_executor/models/[^\n:]*:__init__",
    ),
    # PyTorch says so of tensors, whose types and shapes are no options
    Rule(
        "vllm_fault",
        name=r"^RuntimeError$",
        text=r"have the same dtype, but got|expected scalar type|is invalid for input of size|[Tt]he size of tensor \w"
        r"|Expected all tensors to be on the same device",
    ),
    # --- options -------------------------------------------------------------------------------------------------
    Rule("option_rejected", name=r"ValidationError$|ArgumentError$|ArgumentTypeError$|PydanticUserError$|^argparse\."),
    Rule(
        "option_rejected",
        text=r"--[a-z][a-z0-9-]{2,}|\bVLLM_[A-Z]\w+|\b(?:max_(?:num_|model_)\w+|num_gpu_blocks\w*|block_size"
        r"|kv_cache_dtype"
        r"|tensor_parallel_size|pipeline_parallel_size|data_parallel_size|enable_\w+|disable_\w+|limit_mm\w*|lora_\w+"
        r"|max_lora\w*"
        r"|max_loras|speculative_config|compilation_config|cudagraph\w*|structured_outputs\w*|load_format"
        r"|tool_call_parser"
        r"|reasoning_parser|served_model_name|swap_space|cpu_offload\w*|seed|dtype|task|runner|convert|pooler_config"
        r"|scheduling_policy|chunked_prefill|prefix_caching)\b|\binvalid (?:choice|value|literal|option|argument)"
        r"|unrecognized (?:argument|option)|must be (?:one of|a multiple|positive|greater|less|at least|between|set"
        r"|divisible|either)"
        r"|should be (?:one of|greater|less|a multiple)|unexpected keyword argument|[Ii]nvalid .{0,40}(?:config"
        r"|option)",
    ),
    Rule(
        "option_rejected",
        inner=r"vllm/engine/arg_utils|vllm/config/|vllm/config\.py|argparse|vllm/envs\.py|entrypoints/openai/cli_args"
        r"|FlexibleArgumentParser|pydantic",
    ),
    Rule(
        "option_rejected",
        name=r"^(?:Value|Type|NotImplemented)Error$|ConfigError$",
        text=r"\b(?:tool|reasoning)[ _](?:call )?parser|(?:Error: )(?:[Ii]nvalid|[Uu]nknown|[Uu]nsupported"
        r"|[Ii]ncompatible) ",
    ),
    Rule(
        "option_rejected",
        name=r"^(?:Value|Type|NotImplemented)Error$",
        inner=r"vllm/entrypoints/(?:cli|launchers|openai/api_server)",
    ),
    Rule("option_rejected", name=r"^vllm\.|Config\w*Error$", frames=r"create_engine_config|vllm/engine/arg_utils"),
    # --- vLLM's own code -----------------------------------------------------------------------------------------
    Rule("request_failed", inner=r"entrypoints/(?:openai|serve|pooling|anthropic)/.*serving|starlette/|fastapi/"),
    Rule(
        "vllm_fault",
        name=r"^(?:Attribute|Type|Assertion|Index|Key|Name|UnboundLocal|ZeroDivision|NotImplemented|Recursion"
        r"|Overflow|Runtime|Value|Timeout)Error$"
        r"|^StopIteration$",
        frames=r"vllm/|torch/|vllm_",
    ),
    Rule("vllm_fault", name=r"^(?:Attribute|Type|Assertion|Index|UnboundLocal|Name)Error$"),
    Rule("vllm_fault", name=r"^vllm\."),
)
