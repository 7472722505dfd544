# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that vLLM rejects."""

from __future__ import annotations

from ..entries import FP8, Signature

CORRECT = "correct it in vllm_extra_args or the profile; `null` drops an option of the profile"

OPTIONS: tuple[Signature, ...] = (
    Signature(
        "json_option",
        "fatal",
        "option",
        ("json", "jsondecodeerror", "cannot be converted to"),
        r"error: argument (?P<option_2>\S+?): Invalid JSON[^\n]{0,160}"
        r"|(?:error: argument (?P<option>\S+?): )?(?:Value|Invalid"
        r"|Failed to parse)[^\n]{0,80}?(?:cannot be converted to"
        r"|as JSON|JSON string|valid JSON)[^\n]{0,160}",
        "an option that takes JSON cannot be read: {option}",
        "write it as a dictionary in vllm_extra_args, not as text: the role turns it into JSON",
        versions="vLLM 0.8 to 0.32",
        known="source",
        source="vllm/engine/arg_utils.py",
        unless=r"config file at|huggingface|\.json' is not",
    ),
    Signature(
        "bad_flag",
        "fatal",
        "option",
        (
            "error: unrecognized arguments",
            "error: argument ",
            "error: the following arguments",
            "error: ambiguous option",
        ),
        r"\w(?:\.py)?(?: serve)?: error: "
        r"(?P<detail>(?:unrecognized arguments|argument [^:]{1,80}|the following arguments|ambiguous option).{0,300})",
        "this vLLM does not accept an option: {detail}",
        CORRECT,
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox",
    ),
    Signature(
        "batched_lt_len",
        "fatal",
        "option",
        ("is smaller than max_model_len",),
        r"max_num_batched_tokens \((?P<batched>\d+)\) is smaller than max_model_len(?: \((?P<length>\d+)\))?",
        "max_num_batched_tokens {batched} is smaller than the context",
        "raise max_num_batched_tokens in vllm_extra_args, lower vllm_max_model_len, or keep chunked prefill on",
        versions="vLLM 0.10.1.1 to 0.32",
        known="source",
        source="vllm/config/scheduler.py",
    ),
    Signature(
        "max_len_gt_model",
        "fatal",
        "option",
        ("user-specified max_model_len",),
        r"User-specified max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len"
        r" \([^=]{1,60}=(?P<limit>\d+)",
        "vllm_max_model_len {asked} is more than the {limit} tokens that the model was trained for",
        "set vllm_max_model_len to {limit} or less, or configure YaRN with hf_overrides in vllm_extra_args"
        " (rope_parameters; before vLLM 0.12 rope_scaling)",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox, journey faults",
    ),
    Signature(
        "option_requires",
        "fatal",
        "option",
        (" require", " needs --", "can only be", "cannot be used"),
        r"(?P<option>--[a-z][\w-]+) (?:requires?|needs|can only be (?:used|set) with|cannot be used"
        r" (?:with|together with)) (?P<other>--[a-z][\w-]+)",
        "two options contradict or miss each other: {option} and {other}",
        "set both or drop one of them in vllm_extra_args or the profile ({option_name}, {other_name}); `null` drops an"
        " option of the profile",
        versions="vLLM 0.8 to 0.33",
        known="report",
        source="vllm/entrypoints/openai/cli_args.py; vllm-project/vllm#27773",
    ),
    Signature(
        "lora_rank",
        "fatal",
        "option",
        ("max_lora_rank",),
        r"LoRA rank (?P<rank>\d+) is greater than max_lora_rank (?P<limit>\d+)",
        "the adapter has rank {rank}, and max_lora_rank allows {limit}",
        "set max_lora_rank: {rank} in vllm_extra_args (vLLM allows 8, 16, 32, 64, 128, 256, 320 and 512: take the next"
        " that is not smaller); memory is not the cause",
        versions="vLLM 0.8 to 0.32",
        known="report",
        source="vllm/lora/peft_helper.py",
    ),
    Signature(
        "lora_rank_value",
        "fatal",
        "option",
        ("max_lora_rank",),
        r"max_lora_rank \((?P<given>\d+)\) must be one of (?P<allowed>[^\n]{1,80})",
        "vLLM allows no max_lora_rank of {given}",
        "set max_lora_rank in vllm_extra_args to one of {allowed}: the next that is not smaller than the rank of the"
        " adapter",
        versions="vLLM 0.8 to 0.32",
        known="source",
        source="vllm/config/lora.py",
    ),
    Signature(
        "lora_path",
        "fatal",
        "option",
        ("adapter_config.json", "no adapter found", "loading lora", "lora adapter", "load lora", "add_lora"),
        r"(?:Call to add_lora method failed: )?(?:Loading lora \S{1,200} failed: )?"
        r"No adapter found for (?P<path>\S{1,300})"
        r"|No such file or directory: '(?P<path_2>[^']{0,300}adapter_config\.json)'"
        r"|Loading lora (?P<path_3>\S{1,200}) failed|LoRA adapter .{0,200}?(?:does not exist|not found)"
        r"|(?:Failed|Unable) to load LoRA|Call to add_lora(?![^\n]{0,400}unsupported|[^\n]{0,400}unexpected modules)",
        "the LoRA adapter cannot be loaded: {path}",
        "correct its path in lora_modules (vllm_extra_args): the container sees hf_cache_path as"
        " /root/.cache/huggingface and the cache folder of vllm_home as /root/.cache; the folder must hold"
        " adapter_config.json and the weights; or name an adapter's repository on the hub with vllm_hf_offline: false",
        versions="vLLM 0.8 to 0.32",
        known="report",
        source="vllm-project/vllm#30690, #5199",
    ),
    Signature(
        "lora_unsupported",
        "fatal",
        "option",
        ("lora", "dora", "target modules", "unexpected modules"),
        r"(?P<model>\w{1,120}) does not support LoRA|To support LoRA for [^\n]{1,80}|unexpected modules: .{0,200}"
        r"|(?:expected|unsupported) target modules.{0,200}"
        r"|unsupported LoRA weight|When using LoRA, vocab(?:ulary)? size must be .{0,60}"
        r"|vLLM does not yet support .{0,40}(?:DoRA|LoRA)|does not support (?:LoRA"
        r"|DoRA)(?: yet)?",
        "this vLLM cannot apply the LoRA adapter to the model",
        "remove it from lora_modules and enable_lora in vllm_extra_args, use an adapter that was trained for exactly"
        " this model, or a newer vllm_image; memory is not the cause",
        versions="vLLM 0.8 to 0.32",
        known="source",
        source="vllm/lora/models.py, vllm/lora/peft_helper.py, vllm/lora/layers/logits_processor.py",
    ),
    Signature(
        "world_size",
        "fatal",
        "option",
        (
            "tensor parallel size",
            "tensor_parallel_size",
            "world size",
            "number of required gpus",
            "invalid device ordinal",
            "attention heads",
            "nnodes",
            "duplicate gpu detected",
            "pipeline parallelism is not supported",
        ),
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size \((?P<tp>\d+)\)"
        r"|World size \((?P<world>\d+)\) is larger than the number of available GPUs \((?P<gpus>\d+)\)"
        r"|The number of required GPUs exceeds the total number of available GPUs|invalid device ordinal"
        r"|Pipeline parallelism is not supported for this model"
        r"|Tensor parallel size \(\d+\) cannot be larger than the number of available GPUs"
        r"|tensor_parallel_size .{0,120}?(?:must|cannot|exceeds|is (?:larger|greater))"
        r"|Duplicate GPU detected : rank \d+ and rank \d+ both on",
        "tensor_parallel_size or pipeline_parallel_size in vllm_extra_args does not fit the GPUs or the model; a"
        " Spark has"
        " one GPU",
        "on one host, set tensor_parallel_size: 1 and pipeline_parallel_size: 1 in vllm_extra_args; on several"
        " (vllm_nodes) remove both, or take a number of hosts that divides the heads: not all models can be a pipeline",
        versions="vLLM 0.8 to 0.32",
        known="report",
        source="NVIDIA/dgx-spark-playbooks#63; verl-project/verl#161",
        unless=r"placement group",
        refines=("network", "nccl"),
    ),
    Signature(
        "multi_node_unknown",
        "fatal",
        "option",
        ("ray is not installed", "no module named 'ray'", "failed to import ray"),
        r"[Rr]ay is not installed|No module named 'ray'|Failed to import Ray",
        "vLLM is to use Ray, and the image has none",
        "remove distributed_executor_backend from vllm_extra_args; for hosts that serve together (vllm_nodes) use"
        " an image whose vLLM has --nnodes",
        versions="nvcr.io/nvidia/vllm 26.05 and later, vllm/vllm-openai v0.18 and later",
        known="report",
        source="NVIDIA/dgx-spark-playbooks#109",
    ),
    Signature(
        "dtype_unsupported",
        "fatal",
        "option",
        ("is not supported for quantization method",),
        r"(?P<dtype>torch\.\w+) is not supported for quantization method (?P<method>\w+)\."
        r"(?: Supported dtypes: \[(?P<allowed>[^\]\n]{1,120})\])?",
        "the quantization {method} does not compute with {dtype} (allowed: {allowed})",
        "set dtype in vllm_extra_args to one that is allowed, for example float16; or use a checkpoint with another"
        " quantization (vllm_model)",
        versions="vLLM 0.6 to 0.32",
        known="source",
        source="vllm/model_executor/model_loader/weight_utils.py",
    ),
    Signature(
        "runner_unfit",
        "fatal",
        "option",
        (
            "does not support `--runner",
            "does not support `--convert",
            "does not support `--task",
            "has no attribute 'pooler'",
            "pooler_config is not none",
        ),
        r"This model does not support `--(?:runner|convert|task) (?P<runner>\w+)`"
        r"|'\w{1,120}' object has no attribute 'pooler'|pooler_config is not None",
        "the model cannot do what it is started for ({runner}): it makes embeddings or ranks, or it writes text",
        "remove runner, convert and task from vllm_extra_args, or set runner: pooling for a model of"
        " embeddings (a reranker also needs the hf_overrides of its card); to write"
        " text, select another vllm_model",
        versions="vLLM 0.9 to 0.32",
        known="source",
        source="vllm/config/model.py; QwenLM/Qwen3-Embedding#24",
    ),
    Signature(
        "block_size",
        "fatal",
        "option",
        ("block size", "block_size"),
        r"No common block size for (?P<size>\d+)|[Uu]nsupported block[ _]size:? (?P<size_2>\d+)"
        r"|block_size must be (?:a multiple|divisible|one of)[^\n]{0,80}",
        "the attention backends of this model have no common size of a block of the KV cache ({size})",
        "remove block_size, attention_backend and kv_cache_dtype from vllm_extra_args, so that vLLM selects"
        " what fits; if it"
        " says the same then, drop speculative_config, or use a newer vllm_image",
        versions="vLLM 0.11 to 0.32",
        known="source",
        source="vllm/v1/worker/utils.py",
    ),
    Signature(
        "unknown_quant",
        "fatal",
        "option",
        ("unknown quantization method", "invalid quantization method"),
        r"(?:Unknown|Invalid) quantization method: (?P<method>\S+?)(?:\.|$| )",
        "this vLLM does not know the quantization {method}",
        "correct or remove quantization in vllm_extra_args, or use a newer image (vllm_image)",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox, journey faults",
        guide=FP8,
    ),
    Signature(
        "quant_mismatch",
        "fatal",
        "option",
        ("quantization method specified in the model config", "cannot find the config file for"),
        r"Quantization method specified in the model config \((?P<model>\S+)\) does not match"
        r"|Cannot find the config file for \w+",
        "the quantization asked for is not the one of the checkpoint",
        "remove quantization from vllm_extra_args: vLLM reads it from the checkpoint",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox",
        guide=FP8,
    ),
    Signature(
        "quant_capability",
        "fatal",
        "option",
        ("is not supported for the current gpu",),
        r"quantization method (?P<method>\S+) is not supported for the current GPU\."
        r" Minimum capability: (?P<capability>\d+)",
        "the GPU cannot compute the quantization {method} (it needs capability {capability})",
        "select another checkpoint (vllm_model)",
        versions="vLLM 0.10.1.1 to 0.32",
        known="source",
        source="vllm/model_executor/model_loader/weight_utils.py",
        guide=FP8,
    ),
    Signature(
        "kv_dtype_fp8",
        "fatal",
        "option",
        ("only supports fp8 kv", "only support fp8 kv", "requires fp8 kv"),
        r"(?:only supports?|requires) fp8 kv[-_ ]?cache[^\n]{0,80}",
        "this model computes with a KV cache of type fp8 only",
        "set kv_cache_dtype: fp8 in vllm_extra_args",
        versions="vLLM 0.21 to 0.29, DeepSeek V4",
        known="report",
        source="FujitsuPolycom/sparkring#42; vllm/models/deepseek_v4",
        sets=(("vllm_extra_args", "kv_cache_dtype", "fp8"),),
    ),
    Signature(
        "kv_turboquant",
        "fatal",
        "option",
        ("unknown turboquant cache dtype",),
        r"Unknown TurboQuant cache dtype: '(?P<value>[^'\n]{0,60})'",
        "this vLLM cannot keep every layer of this model in the TurboQuant format of the KV cache",
        "remove kv_cache_dtype from vllm_extra_args, or set it to fp8 there; a newer vllm_image is the second choice",
        versions="vLLM 0.25 and 0.26",
        known="report",
        source="vllm-project/vllm#50709, #47609",
    ),
    Signature(
        "kv_page_size",
        "fatal",
        "option",
        ("page size of the layer", "page size is not divisible by"),
        r"page size (?:of the layer )?is not divisible by the maximum page size",
        "the layers of this model do not fit into pages of one size in the KV cache",
        "remove kv_cache_dtype, block_size and mamba_block_size from vllm_extra_args, and speculative_config if it"
        " names a draft model; a newer vllm_image is the second choice",
        versions="vLLM 0.19 to 0.32",
        known="report",
        source="vllm-project/vllm#41123, #40128, #41153",
    ),
    Signature(
        "kv_dtype",
        "fatal",
        "option",
        ("kv_cache_dtype", "kv cache", "kv-cache-dtype", "fp8e4nv"),
        r"(?:kv_cache_dtype|kv-cache-dtype|KV cache dtype).{0,120}?(?:not supported|invalid|must be|is not)"
        r"|fp8(?:_e\dm\d)? KV cache.{0,80}?not supported|type fp8e4nv not supported",
        "the type of the KV cache does not run with this model or attention backend",
        "remove kv_cache_dtype from vllm_extra_args (the cache then needs twice the memory of fp8), or set"
        " attention_backend: FLASHINFER there",
        versions="vLLM 0.8 to 0.32; NGC 25.12 on the GB10",
        known="report",
        source="NVIDIA/dgx-spark-playbooks#107",
    ),
    Signature(
        "env_value",
        "fatal",
        "option",
        ("vllm_", "environment variable"),
        r"(?:Invalid value|Unknown|Invalid|Unrecognized)[^\n]{0,60}?(?:for )?(?:environment variable )?['\"]?"
        r"(?P<variable>VLLM_[A-Z0-9_]+)['\"]?[^\n]{0,160}"
        r"|(?P<variable_2>VLLM_[A-Z0-9_]+)[^\n]{0,40}?(?:must be|should be|is not a valid|has an invalid)[^\n]{0,120}",
        "the environment variable {variable} has a value that this vLLM rejects",
        "correct or remove it in vllm_extra_env",
        versions="vLLM 0.10 to 0.32",
        known="source",
        source="vllm/envs.py",
    ),
    Signature(
        "speculative",
        "fatal",
        "option",
        ("speculative", "draft model", "draft_model", "draft_tensor", "num_speculative_tokens", "eagle3 interface"),
        r"(?:speculative(?:_config| decoding| method)?|num_speculative_tokens|draft[_ ]model)[^\n]{0,200}?"
        r"(?:not supported|is required|must be|mismatch|invalid|unknown|unsupported|should (?:be|match|have)"
        r"|not compatible)[^\n]{0,80}|Unsupported speculative method[^\n]{0,80}"
        r"|Model does not support EAGLE3 interface|draft_tensor_parallel_size=\d+ cannot be",
        "vLLM rejects the options of speculative decoding",
        "correct speculative_config in vllm_extra_args (method, model, num_speculative_tokens), or drop it: the model"
        " serves without a draft model; or use a newer vllm_image",
        versions="vLLM 0.10 to 0.32",
        known="source",
        source="vllm/config/speculative.py; vllm-project/vllm#26328",
    ),
    Signature(
        "multimodal_limit",
        "fatal",
        "option",
        ("multi-modal", "multimodal", "mm_processor", "encoder cache", "limit_mm_per_prompt"),
        r"(?:multi-?modal|encoder cache|limit_mm_per_prompt)[^\n]{0,200}?(?:exceeds|greater than|larger than"
        r"|smaller than"
        r"|too (?:small|large)|must be|not enough)[^\n]{0,80}",
        "an image, video or audio of full size does not fit into one step",
        "raise max_num_batched_tokens or lower limit_mm_per_prompt in vllm_extra_args ({{image: 1, video: 0}} serves"
        " images only)",
        versions="vLLM 0.8 to 0.32",
        known="source",
        source="vllm/multimodal/profiling.py",
    ),
    Signature(
        "ssl_files",
        "fatal",
        "option",
        ("ssl_", "ssl.sslerror", "load_cert_chain", "filenotfounderror: ", "permissionerror: "),
        r"ssl\.SSLError: .{0,120}|load_cert_chain|ssl_(?:keyfile|certfile)[^\n]{0,120}"
        r"|^(?:FileNotFound|Permission)Error: ",
        "the TLS key or certificate cannot be read",
        "correct ssl_keyfile and ssl_certfile in vllm_extra_args: they are paths in the container",
        versions="uvicorn",
        known="source",
        source="uvicorn/config.py",
        frames=r"uvicorn/config\.py:create_ssl_context|load_cert_chain|:set_ssl",
    ),
    Signature(
        "unexpected_option",
        "fatal",
        "option",
        ("unexpected keyword argument",),
        r"(?P<call>[\w.]{0,80}(?:EngineArgs|Config)[\w.]{0,80})(?:\.__init__)?\(\) got an unexpected keyword argument"
        r" '(?P<option>\w+)'",
        "this vLLM does not know the option {option} ({call})",
        "remove {option} from vllm_extra_args, or use a vllm_image that knows it",
        versions="vLLM 0.8 to 0.32",
        known="source",
        source="vllm/engine/arg_utils.py",
    ),
    Signature(
        "option_range",
        "fatal",
        "option",
        ("validation error for", "validation errors for"),
        r"validation errors? for (?P<config>(?!.*Request\b)[\w\[\]]+)\s+(?P<option>[a-z][\w.\[\]-]*)\s*\n\s*"
        r"(?P<detail>(?!Value error)[^\n\[]{3,200})(?:\[type=(?P<type>\w+), input_value=(?P<value>[^\n]{1,60}?),)?",
        "the option {option} ({config}) has a value that vLLM rejects: {detail} (given: {value})",
        "correct {option} in vllm_extra_args or the profile, where it may be part of speculative_config,"
        " compilation_config or another option; `null` drops an option of the profile; a newer vllm_image may know the"
        " value",
        versions="vLLM 0.10 to 0.32 (pydantic)",
        known="report",
        source="public log; pydantic's messages",
    ),
    Signature(
        "config_rejected",
        "fatal",
        "option",
        ("value error, ", "assertion failed, "),
        r"^\s*(?:Value error|Assertion failed), (?P<detail>.{1,300}?)(?: \[type=|$)",
        "vLLM rejects its options: {detail}",
        "correct vllm_extra_args, vllm_extra_env or the profile",
        versions="vLLM 0.10 to 0.32",
        known="seen",
        source="sandbox",
        unless=r"failed to be inspected",
        generic=True,
    ),
)
