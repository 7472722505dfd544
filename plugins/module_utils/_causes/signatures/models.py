# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that this vLLM does not know, and checkpoints that it cannot load."""

from __future__ import annotations

from ..entries import Signature

MODELS: tuple[Signature, ...] = (
    Signature(
        "trust_remote_code",
        "exit",
        "model",
        ("custom code which must be executed", "requires you to execute", "trust_remote_code=true"),
        r"contains custom code which must be executed|requires you to execute the (?:configuration|model) file"
        r"|consider setting `?trust_remote_code=True",
        "the model's repository contains Python code of its own",
        "read that code, pin the revision, then set trust_remote_code: true in vllm_extra_args; Qwen3, Llama and"
        " Mistral do not need it",
        versions="vLLM 0.10.1.1 to 0.32, transformers 4 and 5",
        known="seen",
        source="sandbox",
    ),
    Signature(
        "draft_unsupported",
        "fatal",
        "model",
        ("is not a registered model", "are not supported", "is not supported"),
        r"(?:'|\[')(?P<architecture>\w*(?:Draft|Eagle|Medusa|MTP|DFlash|DSpark|Speculator|NextN"
        r"|MLPSpeculator)\w*)'[\])]?"
        r".{0,60}?(?:is not a registered model|are not supported|is not supported)",
        "this vLLM does not know the architecture of the draft model ({architecture})",
        "use a newer vllm_image, or drop speculative_config from vllm_extra_args: the model serves without its draft"
        " model",
        versions="vLLM 0.20 to 0.28",
        known="report",
        source="public log; vllm/model_executor/models/registry.py",
    ),
    Signature(
        "arch_gone",
        "fatal",
        "model",
        ("was supported in vllm until", "is not supported in-tree anymore"),
        r"Model architecture (?P<architecture>\w{1,120}) (?:was supported in vLLM until v?(?P<last>\d[\w.]{0,20}\w)"
        r"|is not supported in-tree anymore)",
        "this vLLM no longer knows the model's architecture ({architecture})",
        "use an older vllm_image, of a vLLM that still has it (the last one: {last}), or another vllm_model",
        versions="vLLM 0.10.2 to 0.32",
        known="source",
        source="vllm/model_executor/models/registry.py",
    ),
    Signature(
        "arch_unsupported",
        "fatal",
        "model",
        (
            "model architecture",
            "transformers does not recognize",
            "is not a registered model",
            "has no vllm implementation",
            "unrecognized model in",
            "unrecognized configuration class",
        ),
        r"Model architectures? (?P<architecture>\[.{0,200}?\]) (?:are|is) not supported"
        r"|has model type `(?P<architecture_2>[^`]{1,80})` but Transformers does not recognize"
        r"|'(?P<architecture_3>\w{1,120})' is not a registered model in the Transformers library"
        r"|(?P<architecture_4>\w{1,120}) has no vLLM implementation|Unrecognized (?:model in|configuration class)",
        "this vLLM does not know the model's architecture ({architecture})",
        "use a newer image (vllm_image) or another vllm_model",
        versions="vLLM 0.10.1.1 to 0.32, transformers 4 and 5; nvcr.io/nvidia/vllm:25.11-py3 with Gemma 4",
        known="seen",
        source="sandbox; NVIDIA/dgx-spark-playbooks#75",
    ),
    Signature(
        "gguf_architecture",
        "fatal",
        "model",
        ("gguf model with architecture", "unknown gguf model_type"),
        r"GGUF model with architecture (?P<architecture>[\w.-]{1,60}) is not supported"
        r"|Unknown gguf model_type: (?P<architecture_2>[\w.-]{1,60})",
        "this image cannot read GGUF files of the architecture {architecture}",
        "use a checkpoint of the model in safetensors (vllm_model), FP8, NVFP4 or AWQ for example, or a newer"
        " vllm_image",
        versions="vLLM 0.5 to 0.20, transformers 4 and 5",
        known="report",
        source="vllm-project/vllm#42229, #33229",
    ),
    Signature(
        "model_path",
        "fatal",
        "model",
        ("invalid repository id or local directory", "repo id must be in the form"),
        r"Invalid repository ID or local directory specified: '(?P<model>[^'\n]{1,200})'"
        r"|Repo id must be in the form [^\n]{1,60}?: '(?P<model_2>\.{0,2}/[^'\n]{1,200})'",
        "{model} is neither a model that the hub has given, nor a folder with a config.json in the container",
        "correct vllm_model: an id of the hub, or a folder as the container sees it (hf_cache_path is"
        " /root/.cache/huggingface; vllm_mounts adds others). If the id is right, check vllm_hf_token,"
        " vllm_hf_offline and"
        " the way to the hub",
        versions="vLLM 0.7 to 0.32",
        known="report",
        source="vllm-project/vllm#13510; vllm/transformers_utils/config.py",
    ),
    Signature(
        "repository_file",
        "exit",
        "hub",
        ("entry not found for url", "entrynotfounderror"),
        r"Entry Not Found for url: https?://[^/\s]{1,200}/(?P<file>[^\s?]{1,300}?)\.?(?:\s|$)"
        r"|\.(?:Remote)?EntryNotFoundError\b",
        "the hub has the repository, and not the file that this image asks for ({file})",
        "correct vllm_model, or revision in vllm_extra_args: a repository without config.json is an adapter,"
        " GGUF files or"
        " parts of another program; else use a newer vllm_image, or another checkpoint of the model",
        versions="huggingface_hub 0.30 to 1",
        known="report",
        source="huggingface_hub, hf_raise_for_status",
        unless=r"LocalEntryNotFound",
    ),
    Signature(
        "no_architecture",
        "fatal",
        "model",
        ("no model architectures are specified",),
        r"No model architectures are specified",
        "the model's config.json names no architecture: it is an adapter, a part of a pipeline, or no language model",
        "use the repository of the complete model (vllm_model); an adapter belongs into lora_modules of"
        " vllm_extra_args",
        versions="vLLM 0.8 to 0.33",
        known="report",
        source="vllm-project/vllm-omni#2170",
    ),
    Signature(
        "mistral_format",
        "fatal",
        "model",
        ("params.json", "tekken", "mistral tokenizer"),
        r"Failed to load mistral 'params\.json'|Found 0 files matching the pattern: [^\n]{0,120}tekken"
        r"|Make sure that a Mistral tokenizer is present",
        "the checkpoint is not in Mistral's own format, and the options ask for it",
        "remove tokenizer_mode: mistral, config_format: mistral and load_format: mistral from vllm_extra_args, or use"
        " the checkpoint that Mistral published (vllm_model)",
        versions="vLLM 0.8 to 0.33",
        known="report",
        source="vllm-project/vllm#17132, #17210",
    ),
    Signature(
        "remote_code_missing",
        "fatal",
        "model",
        ("named 'transformers_modules",),
        r"No module named 'transformers_modules[\w.-]*'",
        "a worker does not have the Python code of the model's repository that another process uses",
        "set trust_remote_code: true in vllm_extra_args of every host, and give each of them the same revision of the"
        " model (playbooks/stage.yml); or use a vllm_image that knows the model without that code",
        versions="vLLM with several workers or hosts, transformers 4 and 5",
        known="report",
        source="vllm-project/vllm, trust_remote_code with several workers",
    ),
    Signature(
        "remote_code_age",
        "fatal",
        "model",
        ("cannot import name", "has no attribute", "unexpected keyword argument", "no module named"),
        r"cannot import name '(?P<name>\w+)'|has no attribute '(?P<name_2>\w+)'"
        r"|unexpected keyword argument '(?P<name_3>\w+)'|No module named '(?P<name_4>[\w.]+)'",
        "the Python code of the model's repository needs another transformers or package than the image has ({name})",
        "remove trust_remote_code from vllm_extra_args if this vLLM knows the model; else use a vllm_image of the age"
        " of that code, another revision, or another vllm_model",
        versions="transformers 4 and 5",
        known="report",
        source="vllm-project/vllm with trust_remote_code; open-compass/VLMEvalKit#1418",
        frames=r"transformers_modules/",
    ),
    Signature(
        "tokenizer_class",
        "fatal",
        "model",
        ("tokenizer class", "tokenizersbackend", "extra_special_tokens"),
        r"Tokenizer class (?P<name>\w+) does not exist or is not currently imported"
        r"|TokenizersBackend|extra_special_tokens",
        "the checkpoint was written with a newer transformers than the image has (tokenizer {name})",
        "use a newer vllm_image (one with transformers 5), or another checkpoint of the model (vllm_model)",
        versions="transformers 4 with checkpoints of transformers 5; vLLM before 0.20",
        known="report",
        source="modelscope/ms-swift#8352, PaddlePaddle/PaddleOCR#17587",
    ),
    Signature(
        "mistral_tokenizer",
        "fatal",
        "option",
        ("tokenizer' object has no attribute",),
        r"'(?P<name>(?:Mistral|Tekken)\w{0,40}Tokenizer)' object has no attribute '(?P<attribute>\w+)'",
        "Mistral's own tokenizer does not go together with the rest of this checkpoint ({name} has no {attribute})",
        "remove tokenizer_mode: mistral from vllm_extra_args, or, if it is not there, set tokenizer_mode: hf: vLLM"
        " takes Mistral's tokenizer by itself where the checkpoint has a tekken.json; for a checkpoint in Mistral's own"
        " format set config_format: mistral and load_format: mistral beside it instead. Then use a newer vllm_image",
        versions="vLLM 0.8 to 0.13",
        known="report",
        source="vllm-project/vllm#16292, #16681, #31792",
    ),
    Signature(
        "draft_of_another",
        "fatal",
        "option",
        ("shapes cannot be multiplied",),
        r"mat1 and mat2 shapes cannot be multiplied \((?P<shapes>[\dx]{1,40} and [\dx]{1,40})\)",
        "the draft model was made for another model: the two do not exchange states of the same size ({shapes})",
        "name the draft model that was made for exactly this vllm_model in speculative_config (vllm_extra_args), or"
        " drop speculative_config: the model serves without it",
        versions="vLLM 0.18 to 0.24, EAGLE-3 and DFlash",
        known="report",
        source="vllm-project/vllm#48113, #48259",
        frames=r"combine_hidden_states",
    ),
    Signature(
        "tokenizer_attribute",
        "fatal",
        "model",
        ("has no attribute",),
        r"(?P<name>\w{0,60}(?:Tokenizer|Processor|TokenizersBackend|ImageProcessor"
        r"|FeatureExtractor)\w{0,80})'?(?: object)? has no"
        r" attribute '?(?P<attribute>\w+)",
        "the image has a transformers that does not fit its vLLM or the model ({name} has no {attribute})",
        "use another vllm_image, in which vLLM and transformers match; or another checkpoint of the model (vllm_model)",
        versions="vLLM 0.11 with transformers 5",
        known="report",
        source="QwenLM/Qwen3-VL#2058, vllm-project/vllm#29686",
        unless=r"structured_output/|xgrammar/",  # which has classes of such names, too
    ),
    Signature(
        "config_attribute",
        "fatal",
        "model",
        (
            "config' object has no attribute",
            "config object has no attribute",
            "rope_scaling",
            "rope_parameters",
            "rope_type",
            "rope_theta",
        ),
        r"'?(?P<name>\w{0,80}Config)'? object has no attribute '(?P<attribute>\w+)'"
        r"|(?:rope_scaling|rope_parameters|rope_type)[^\n]{0,160}?(?:must|missing|invalid|unknown|unrecognized"
        r"|KeyError)"
        r"|KeyError: '(?:rope_type|rope_theta|rope_scaling)'",
        "the model's config.json is of another age than the image's transformers or vLLM ({name} has no {attribute})",
        "use a newer vllm_image, or another checkpoint of the model (vllm_model); hf_overrides in vllm_extra_args"
        " can set"
        " a missing value",
        versions="transformers 4 and 5",
        known="report",
        source="vllm-project/vllm#29686, #36236",
    ),
    Signature(
        "config_class",
        "fatal",
        "model",
        ("invalid type of huggingface config",),
        r"Invalid type of HuggingFace config(?:[^\n]{0,300}?found type: <class '[^'\n]{0,200}?(?P<found>\w+)'>)?",
        "the image's transformers reads the model's config.json as another class than its vLLM expects ({found})",
        "use a newer vllm_image, in which vLLM and transformers match; or another checkpoint of the model (vllm_model)",
        versions="transformers 4 and 5, vLLM 0.8 to 0.32",
        known="report",
        source="vllm-project/vllm#50428",
    ),
    Signature(
        "processor_load",
        "fatal",
        "model",
        ("for argument tokenizer", "processor", "feature extractor", "preprocessor_config", "image_processor"),
        r"(?:Unrecognized|Invalid|Failed to load|Can't load|Could not find)[^\n]{0,80}?(?:processor"
        r"|feature extractor)[^\n]{0,120}"
        r"|Received a \w+ for argument tokenizer, but|Invalid type of HuggingFace processor[^\n]{0,160}"
        r"|preprocessor_config\.json",
        "the processor of the multi-modal model cannot be made by this image's transformers",
        "use a newer vllm_image, or another checkpoint of the model (vllm_model); for text only, set"
        " limit_mm_per_prompt in vllm_extra_args to zero",
        versions="transformers 4 and 5, vLLM 0.8 to 0.32",
        known="report",
        source="transformers/processing_utils.py; vllm/transformers_utils/processor.py",
        unless=r"No such file|offline|couldn't connect|LocalEntryNotFound",
    ),
    Signature(
        "tokenizer_load",
        "fatal",
        "model",
        ("untagged enum", "tokenizer", "sentencepiece", "tiktoken", "tekken", "mistral_common"),
        r"(?:Couldn't instantiate the backend tokenizer|Can't load tokenizer for '(?P<model>[^']{1,200})'"
        r"|Failed to load the"
        r" tokenizer|Exception: data did not match any variant of untagged enum|Converting from (?:SentencePiece and "
        r")?Tiktoken failed|Unrecognized tokenizer|You need to have sentencepiece|No tokenizer file found)[^\n]{0,160}"
        r"|data did not match any variant of untagged enum \w+",
        "the model's tokenizer cannot be read by this image",
        "use a newer vllm_image; if tokenizer files are missing in the checkpoint, set tokenizer (or tokenizer_mode:"
        " mistral) in vllm_extra_args, or use another checkpoint (vllm_model)",
        versions="tokenizers 0.19 to 0.22, transformers 4 and 5",
        known="report",
        source="tokenizers; transformers/tokenization_utils_base.py",
        unless=r"offline mode|couldn't connect|outgoing traffic",
    ),
    Signature(
        "weights_unmatched",
        "fatal",
        "weights",
        ("were not initialized from checkpoint", "there is no module or parameter named", "of size", "shape"),
        r"Following weights were not initialized from checkpoint: ?(?P<names>.{0,160})"
        r"|There is no module or parameter named '(?P<names_2>[^']{1,160})'"
        r"|(?:Tried to load weights of size|loaded weight|param(?:_data|eter)?).{0,80}?(?:to a parameter of size"
        r"|shape)[^\n]{0,120}",
        "the tensors of the checkpoint are not those that this vLLM expects for the model ({names})",
        "use a newer vllm_image, or another checkpoint of the model (vllm_model); remove quantization from"
        " vllm_extra_args if it is set. If files are missing, playbooks/stage.yml downloads them; a complete checkpoint"
        " need not be downloaded again",
        versions="vLLM 0.8 to 0.32",
        known="report",
        source="vllm/model_executor/models/utils.py",
    ),
    Signature(
        "weights_key",
        "fatal",
        "weights",
        ("keyerror: '", "attributeerror"),
        r"KeyError: '(?P<key>[\w.]*(?:layers\.\d+|weight|scale|bias|experts|embed_tokens|lm_head)[\w.]*)'",
        "the checkpoint has a tensor that this vLLM does not know for the model ({key})",
        "use a newer vllm_image, or another checkpoint of the model (vllm_model), for example one with another"
        " quantization; the files need not be downloaded again",
        versions="vLLM 0.8 to 0.32",
        known="report",
        source="public log; vllm/model_executor/models, load_weights",
    ),
    Signature(
        "fused_schemes",
        "fatal",
        "weights",
        ("requires all to use the same scheme",),
        r"different quantization schemes? for (?P<parts>[^\n]{1,200}?) in (?P<layer>[\w.]{1,200})\. vLLM requires all"
        r" to use the same scheme",
        "the checkpoint quantizes the parts of one layer ({layer}) differently, and vLLM computes them as one",
        "use another checkpoint of the model (vllm_model), or a newer vllm_image; to download it again changes nothing",
        versions="vLLM 0.9 to 0.24, compressed-tensors",
        known="report",
        source="vllm-project/vllm#47473",
    ),
    Signature(
        "kv_scheme",
        "fatal",
        "weights",
        ("supported kv cache quantization",),
        r"supported kv cache quantization is [^\n]{1,80}?received num_bits=(?P<bits>\d{1,3})",
        "the checkpoint asks for a KV cache of {bits} bits, which this vLLM does not have",
        "use another checkpoint of the model (vllm_model), or a newer vllm_image; kv_cache_dtype does not change what"
        " the checkpoint asks for",
        versions="vLLM 0.9 to 0.22, compressed-tensors",
        known="report",
        source="vllm-project/vllm#45312",
    ),
    Signature(
        "quant_config",
        "fatal",
        "weights",
        (
            "quantization_config",
            "compressed_tensors",
            "compressed-tensors",
            "modelopt",
            "quant_algo",
            "quantization scheme",
        ),
        r"(?:quantization_config|quant_algo|quantization scheme|compressed[_-]tensors|ModelOpt)[^\n]{0,200}?"
        r"(?:not supported|unsupported|unknown|no |must|missing|KeyError|expected|cannot)[^\n]{0,120}",
        "this vLLM cannot read the quantization of the checkpoint",
        "use a newer vllm_image, or a checkpoint with another quantization (vllm_model); remove quantization from"
        " vllm_extra_args if it is set",
        versions="vLLM 0.10 to 0.32",
        known="source",
        source="vllm/model_executor/layers/quantization",
        unless=r"moe_backend|linear_backend|MoE backend",
    ),
    Signature(
        "modelopt_algorithm",
        "fatal",
        "model",
        ("modelopt currently only supports",),
        r"ModelOpt currently only supports: [^\n]{1,300}?quantizations in vLLM(?:[^\n]{0,120}?Got: (?P<got>\w+))?",
        "this vLLM does not know how ModelOpt has quantized the checkpoint ({got})",
        "use a newer vllm_image, or another checkpoint of the model (vllm_model), for example NVFP4 or FP8 throughout",
        versions="vLLM 0.10 to 0.17",
        known="source",
        source="vllm/model_executor/layers/quantization/modelopt.py; vllm-project/vllm#36312",
    ),
    Signature(
        "dimension_block",
        "fatal",
        "weights",
        ("is not divisible by", "must be divisible by", "not aligned"),
        r"size_[kn] = \d+ is not divisible by \w{1,40}[^\n]{0,120}"
        r"|(?:output|input|weight|hidden|intermediate)[\w ]{0,40}(?:size|dim\w*)?[^\n]{0,80}?(?:is not"
        r"|must be) divisible by"
        r"[^\n]{0,120}",
        "a layer of the model does not fit the blocks of its quantization or of the kernel",
        "use a lower tensor_parallel_size or moe_backend: triton in vllm_extra_args, a newer vllm_image, or a"
        " checkpoint"
        " with another quantization (vllm_model)",
        versions="vLLM 0.8 to 0.32",
        known="source",
        source="vllm/model_executor/layers/quantization/fp8.py",
        unless=r"attention heads",
    ),
)
