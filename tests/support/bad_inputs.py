# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input, and the one line that the operator reads. BAD is that of the role vllm, BAD_HOST that of the others."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.images import GUIDES
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.text import show

TOKEN = "hf_" + "a1B2" * 8
KEY = "correct-horse-battery"
OWN_MODEL = {"id": "a/b", "weights_bytes": 10**9, "layers": 2, "kv_heads": 2, "head_dim": 32, "native_context": 40000}
BETWEEN = "vllm/vllm-openai:v0.20.0-cu130"  # its vLLM is none of those whose options are recorded
NEWEST = "vllm/vllm-openai:v0.28.0"  # that somebody used on a Spark
LATEST_RECORDED = {"vllm_image": "my/vllm:1", "vllm_images": {"my/vllm:1": {"vllm": "0.32.0"}}}
OLD = "nvcr.io/nvidia/vllm:25.09-py3"  # serves on several hosts by Ray
SPANS = "nvcr.io/nvidia/vllm:26.07-py3"  # hosts, with an NCCL that does not hang
MODELS = "known: " + ", ".join(Catalog().models())

Values = dict[str, t.Any]


def one(name: str, value: t.Any) -> Values:
    return {name: value}


def own_model(**fields: t.Any) -> Values:
    return {"vllm_model": "mine", "vllm_models": {"mine": {**OWN_MODEL, **fields}}}


def pair(*more: str, **values: t.Any) -> Values:
    return {
        "vllm_nodes": ["spark01", "spark02", *more],
        "vllm_node_address": "192.168.100.1",
        "vllm_image": SPANS,
        **values,
    }


def keys(*items: t.Any) -> Values:
    return {"gateway_keys": list(items)}


def files(*items: t.Any) -> Values:
    return {"vllm_files": list(items)}


def mounts(*items: t.Any) -> Values:
    return {"vllm_mounts": list(items)}


RULE = 'is not a rule; use image (a pattern) or vllm (a range such as ">=0.19,<0.26") or both, with args or environment'
DRAFT = (
    "is not allowed; use a mapping with method and tokens, and with id, revision, weights_bytes and attention_kinds if"
    " it is a repository of its own, vllm and args"
)
FOLDER = "use letters, digits and . _ @ + - between the /, and no . or .."
WHOLE_PATH = "is not the whole path of a folder; write all of it, such as /srv/models/mine"
FILE = "{src: files/template.jinja, target: /opt/files/template.jinja}"
MOUNT = "{source: /srv/data, target: /data}"
SECRET = "one word of printable ASCII without quotes"
SERVICE = "vllm, or vllm- and up to 25 lower case letters, digits and -: it names a systemd unit"
CONTAINER = "a letter or digit, then 1 to 62 letters, digits and . _ -"
UTILIZATION = "use a share of the memory above 0 and at most 0.95"
FIXED_TAG = "use a fixed tag such as nvcr.io/nvidia/vllm:25.09-py3, or a digest, or set vllm_image_allow:"
FIXED_UPSTREAM = FIXED_TAG.replace("nvcr.io/nvidia/vllm:25.09-py3", NEWEST)
DIGEST = "sha256:" + "0" * 64
HOST_HEADER = (
    "has a security advisory (CVE-2026-48746: a crafted Host header passes vLLM's own check of the API key, fixed in"
    " vLLM 0.22.0)"
)
READABLE = "secret that every user of the host could read; use vllm_hf_token or vllm_api_key"
ONE_GPU = "a Spark has one GPU: remove it, or name the hosts that serve the model together in vllm_nodes"
NO_PASSWORD = "every user of the host could read; use an address without one, such as http://proxy.example:3128"
YARN_FROM_0_12 = (
    " stretch it to 131072 with vllm_extra_args: {hf_overrides: {max_position_embeddings: 131072, rope_parameters: {"
    "rope_type: yarn,"
    " rope_theta: 1000000, factor: 4.0, original_max_position_embeddings: 32768}}}"
)
SHARE = "0.90 of 121.7 GiB"
TRY_IT = (
    "vllm_enforce_memory_plan: false tries it all the same, and for other hardware set"
    " spark_host_allow_other_hardware: true"
)
DATE = datetime.date(2026, 1, 31)
HOOK = "use one such as https://chat.example.com/hooks/alerts"
MODE = 'use four octal digits in quotes, such as "0755"'

BAD: list[tuple[Values, str]] = [
    # names
    (one("vllm_modle", "x"), "vllm_modle: unknown variable; did you mean vllm_model?"),
    (one("vllm_hf_tokn", TOKEN), "vllm_hf_tokn: unknown variable; did you mean vllm_hf_token?"),
    (one("vllm_apikey", KEY), "vllm_apikey: unknown variable; did you mean vllm_api_key?"),
    (
        one("vllm_gpu_memory_utilisation", 0.8),
        "vllm_gpu_memory_utilisation: unknown variable; did you mean vllm_gpu_memory_utilization?",
    ),
    (
        one("vllm_wxyz", 1),
        "vllm_wxyz: unknown variable; names that begin with vllm_ belong to the role vllm, rename yours,"
        " or see `ansible-doc -t role dgxspark.vllm.vllm`",
    ),
    # types
    (one("vllm_keep_releases", 0), "vllm_keep_releases: 0 is not allowed; use at least 1 release"),
    (one("vllm_port", "http"), 'vllm_port: "http" is not allowed; use a whole number'),
    (one("vllm_port", 80.5), "vllm_port: 80.5 is not allowed; use a whole number"),
    (one("vllm_port", True), "vllm_port: true is not allowed; use a whole number"),
    (one("vllm_port", None), "vllm_port: is null; remove the line to get the default 8000"),
    (one("vllm_port", [8000]), "vllm_port: a list is not allowed; use a whole number"),
    (one("vllm_hf_token", None), 'vllm_hf_token: is null; remove the line to get the default ""'),
    (one("vllm_model", ["qwen3-8b-fp8"]), "vllm_model: a list is not allowed; use one text, not a list or a mapping"),
    (one("vllm_model", True), "vllm_model: true is not allowed; use a text; write it in quotes"),
    (one("vllm_hf_offline", "maybe"), 'vllm_hf_offline: "maybe" is not allowed; use true or false'),
    (one("vllm_drop_page_cache", 2), "vllm_drop_page_cache: 2 is not allowed; use true or false"),
    (
        one("vllm_extra_args", "--max-num-seqs 8"),
        'vllm_extra_args: "--max-num-seqs 8" is not allowed; use a mapping (key: value)',
    ),
    (one("vllm_extra_args", None), "vllm_extra_args: is null; remove the line to get the default {}"),
    *(
        (
            one("vllm_extra_env", {"LD_LIBRARY_PATH": f"/opt/lib:{word}"}),
            f'vllm_extra_env.LD_LIBRARY_PATH: nothing replaces "{word}" here; write the value itself',
        )
        for word in ("${LD_LIBRARY_PATH}", "${HOME:-/root}")
    ),
    (one("vllm_extra_env", ["A=1"]), "vllm_extra_env: a list is not allowed; use a mapping (key: value)"),
    (
        one("vllm_gpu_memory_utilization", "90%"),
        'vllm_gpu_memory_utilization: "90%" is not allowed; use a number, such as 0.9',
    ),
    (
        one("vllm_gpu_memory_utilization", "0,85"),
        'vllm_gpu_memory_utilization: "0,85" is not allowed; use a number, such as 0.85',
    ),
    (one("vllm_gpu_memory_utilization", "nan"), 'vllm_gpu_memory_utilization: "nan" is not allowed; use a number'),
    (
        one("vllm_max_model_len", "32k"),
        'vllm_max_model_len: "32k" is not allowed; use a whole number, such as 32000 or 32768',
    ),
    (
        one("vllm_max_model_len", "1M"),
        'vllm_max_model_len: "1M" is not allowed; use a whole number, such as 1000000 or 1048576',
    ),
    (
        one("vllm_max_model_len", "32,768"),
        'vllm_max_model_len: "32,768" is not allowed; use a whole number, such as 32768',
    ),
    (
        one("vllm_start_timeout", "10m"),
        'vllm_start_timeout: "10m" is not allowed; use a whole number, such as 600',
    ),
    (one("vllm_port", "8000:8000"), 'vllm_port: "8000:8000" is not allowed; use a whole number'),
    (
        one("vllm_memory_reserve_gib", "10G"),
        'vllm_memory_reserve_gib: "10G" is not allowed; use a number, such as 10',
    ),
    (
        one("vllm_container_memory_gib", "110g"),
        'vllm_container_memory_gib: "110g" is not allowed; use a number, such as 110',
    ),
    *(
        (
            one("vllm_container_memory_gib", value),
            f"vllm_container_memory_gib: {value} is not allowed; use 0 for no limit, or 4 to 4096 GiB",
        )
        for value in (-1, 3.5, 110 * 2**30)
    ),
    (one("vllm_max_model_len", "auto"), 'vllm_max_model_len: "auto" is not allowed; use a whole number'),
    (one("vllm_api_key", ["a"]), "vllm_api_key: its value is not allowed; use one text, not a list or a mapping"),
    (one("vllm_gpu", "cuda"), 'vllm_gpu: "cuda" is not allowed; use auto, nvidia, cdi, none'),
    # model and profile
    (
        one("vllm_model", "qwen3-9b"),
        f'vllm_model: "qwen3-9b" is not in the catalog; did you mean qwen3-8b-fp8? {MODELS}; or add it to vllm_models',
    ),
    (
        one("vllm_model", "Org/No/Thing"),
        'vllm_model: "Org/No/Thing" is neither the id of a repository nor the whole path of a folder; write one such as'
        " Qwen/Qwen3-8B-FP8, or /srv/models/mine",
    ),
    (
        one("vllm_model", "$HOME/models/x"),
        'vllm_model: "$HOME/models/x" is not the whole path of a folder; write all of it, such as /srv/models/mine',
    ),
    (one("vllm_model", ""), f'vllm_model: "" is not in the catalog; {MODELS}; or add it to vllm_models'),
    (
        {"vllm_model": "Qwen/Qwen3-8B-FP8", "vllm_models": {"mine": {**OWN_MODEL, "id": "Qwen/Qwen3-8B-FP8"}}},
        'vllm_model: "Qwen/Qwen3-8B-FP8" is the id of qwen3-8b-fp8 and mine; use one of these names',
    ),
    (
        one("vllm_profile", "fast"),
        'vllm_profile: "fast" is no profile; known: throughput, latency, concurrency; or add it to vllm_profiles',
    ),
    (
        one("vllm_profile", "thruput"),
        'vllm_profile: "thruput" is no profile; did you mean throughput? known: throughput, latency,'
        " concurrency; or add it to vllm_profiles",
    ),
    (
        one("vllm_models", {"mine": None}),
        "vllm_models.mine: null is not allowed; use a mapping with id, weights_bytes, layers, kv_heads,"
        " head_dim, native_context",
    ),
    (
        one("vllm_models", {"mine": {**OWN_MODEL, "layrs": 2}}),
        "vllm_models.mine.layrs: unknown field; did you mean layers?",
    ),
    (
        one("vllm_models", {"mine": {**OWN_MODEL, "layers": "2"}}),
        'vllm_models.mine.layers: "2" is not allowed; use a whole number above 0',
    ),
    (
        one("vllm_models", {"mine": {**OWN_MODEL, "weights_bytes": 9.44e9}}),
        "vllm_models.mine.weights_bytes: 9440000000.0 is not allowed; use a whole number above 0",
    ),
    (
        one("vllm_models", {"mine": {**OWN_MODEL, "gated": "no"}}),
        'vllm_models.mine.gated: "no" is not allowed; use true or false',
    ),
    (
        one("vllm_models", {"mine": {**OWN_MODEL, "id": "b"}}),
        'vllm_models.mine.id: "b" is not allowed; use a Hugging Face id such as Qwen/Qwen3-8B-FP8, or the whole path of'
        " a folder such as /srv/models/mine",
    ),
    (
        one("vllm_models", {"mine": {"id": "a/b"}}),
        "vllm_models.mine.weights_bytes: is missing; use a whole number above 0",
    ),
    (
        one("vllm_models", {"My Model": OWN_MODEL}),
        "vllm_models.My Model: the name is not allowed; use lower case letters, digits, . _ and -",
    ),
    (
        one("vllm_models", {"qwen3-8b-fp8": {"args": ["--x"]}}),
        "vllm_models.qwen3-8b-fp8.args: a list is not allowed; use a mapping",
    ),
    (
        one("vllm_models", {"qwen3-8b-fp8": {"args": {"max_seqs": 1}}}),
        "vllm_models.qwen3-8b-fp8.args.max_seqs: unknown option of vLLM 0.10.1.1; did you mean max_num_seqs?",
    ),
    (
        one("vllm_models", {"qwen3-8b-fp8": {"args": {"gpu_memory_utilization": 0.5}}}),
        "vllm_models.qwen3-8b-fp8.args.gpu_memory_utilization: is not allowed here; set"
        " vllm_gpu_memory_utilization instead",
    ),
    *(
        (one("vllm_models", {"mine": {**OWN_MODEL, **fields}}), f"vllm_models.mine.{line}")
        for fields, line in (
            ({"config_context": 4096}, "native_context: 40000 is more than config_context (4096); use at most that"),
            ({"full_attention_layers": 3}, "full_attention_layers: 3 is more than layers (2); use at most that"),
            ({"yarn": {"factor": 4.0}}, "yarn: is not complete; use factor and original_max_position_embeddings"),
            ({"revision": 5}, "revision: 5 is not allowed; use a commit, tag or branch of the hub, in quotes"),
            (
                {"revision": "a b"},
                'revision: "a b" is not allowed; use a commit, tag or branch of the hub, in quotes',
            ),
            ({"min_vllm": 0.11}, 'min_vllm: 0.11 is not allowed; use a version in quotes, such as "0.32.0"'),
            *(
                ({"draft": draft}, f"draft: a mapping {DRAFT}")
                for draft in (
                    {"method": "mtp"},
                    {"method": "mtp", "tokens": "3"},
                    {"method": "mtp", "tokens": 3, "repository": "a/b"},
                    {"method": "mtp", "tokens": 3, "id": "./mine"},
                    {"method": "mtp", "tokens": 3, "vllm": "0.28"},
                )
            ),
            ({"per_image": {}}, "per_image: a mapping is not allowed; use a list"),
            ({"per_image": ["marlin"]}, f'per_image[0]: "marlin" {RULE}'),
            ({"per_image": [{"args": {"dtype": "half"}}]}, f"per_image[0]: a mapping {RULE}"),
            ({"per_image": [{"vllm": "0.19", "args": {"dtype": "half"}}]}, f"per_image[0]: a mapping {RULE}"),
            ({"per_image": [{"vllm": ">=0.19"}]}, f"per_image[0]: a mapping {RULE}"),
            ({"tokens_per_second": "51"}, 'tokens_per_second: "51" is not allowed; use a number above 0'),
            ({"sliding_window": 0}, "sliding_window: 0 is not allowed; use a whole number above 0"),
            ({"notes": "slow"}, 'notes: "slow" is not allowed; use a list of texts'),
        )
    ),
    (
        {**own_model(per_image=[{"image": "nvcr.io/*", "args": {"max_seqs": 1}}]), **one("vllm_image", GUIDES)},
        "vllm_models.mine.per_image.args.max_seqs: unknown option of vLLM 0.10.1.1; did you mean max_num_seqs?",
    ),
    (
        own_model(per_image=[{"image": "nvcr.io/*", "environment": {"A": True}}]),
        "vllm_models.mine.per_image.environment.A: true is not allowed; write the text that the program wants, such as"
        ' "1" or "0"',
    ),
    (
        own_model(environment={"VLLM_API_KEY": "x"}),
        "vllm_models.mine.environment.VLLM_API_KEY: is not allowed here; set vllm_api_key instead",
    ),
    (
        {**own_model(min_vllm="0.19.0"), **one("vllm_image", GUIDES)},
        'vllm_image: "nvcr.io/nvidia/vllm:25.09-py3" cannot run mine, its vLLM 0.10.1.1 is older than 0.19.0, the first'
        " that knows it; use nvcr.io/nvidia/vllm:26.04-py3, or set vllm_image_allow: [cannot_run]",
    ),
    (one("vllm_profiles", {"mine": {}}), "vllm_profiles.mine.args: is missing; use a mapping"),
    (
        one("vllm_profiles", {"mine": {"max_num_seqs": 1}}),
        "vllm_profiles.mine.max_num_seqs: unknown field; known: args",
    ),
    (
        {"vllm_profile": "mine", "vllm_profiles": {"mine": {"args": {"gpu_memory_utilization": 2}}}},
        f"vllm_profiles.mine.args.gpu_memory_utilization: 2 is not allowed; {UTILIZATION}",
    ),
    (
        {"vllm_profile": "mine", "vllm_profiles": {"mine": {"args": {"gpu_memory_utilization": "high"}}}},
        'vllm_profiles.mine.args.gpu_memory_utilization: "high" is not allowed; use a share of the memory such as 0.90',
    ),
    (
        {"vllm_profile": "mine", "vllm_profiles": {"mine": {"args": {"max_num_seqs": 8}}}},
        "vllm_profiles.mine.args.gpu_memory_utilization: is missing; use a share of the memory such as 0.80,"
        " or set vllm_gpu_memory_utilization",
    ),
    (
        {"vllm_profile": "mine", "vllm_profiles": {"mine": {"args": {"gpu_memory_utilization": 0.5, "port": 9}}}},
        "vllm_profiles.mine.args.port: is not allowed here; set vllm_port instead",
    ),
    # image
    *(
        (
            {"vllm_image": ref, "vllm_image_allow": ["unknown", "moving"]},
            f"vllm_image: {show(ref)} is not a reference to an image; use a name in lower case and a tag or digest,"
            " such as nvcr.io/nvidia/vllm:25.09-py3",
        )
        for ref in (
            *("--x", "-v/:/x", "a b:1", "a/b:1\n", "a/b\0:1", "a/b:1\x9b2J", "a/b:${HF_TOKEN}", "$HOME/b:1", "a$$b:1"),
            *("a/b:1:2", "a/b:", "/a/b:1", "a//b:1", "a/B:1", "a/b:-1", "a/b@sha256:1", "a/b:1@md5:00", " a/b:1"),
        )
    ),
    (
        one("vllm_image", "vllm/vllm-openai:latest"),
        'vllm_image: "vllm/vllm-openai:latest" moves: latest is another image tomorrow (it moves:'
        " today's build may work, tomorrow's may not; the guide warns of it for FP8 quantization that failed (CUTLASS"
        " kernel errors), memory detected wrongly, and Triton that could not compile for sm_121a);"
        f" {FIXED_UPSTREAM} [moving, avoid]",
    ),
    (
        one("vllm_image", "vllm/vllm-openai:nightly"),
        f'vllm_image: "vllm/vllm-openai:nightly" moves: nightly is another image tomorrow; {FIXED_UPSTREAM} [moving]',
    ),
    (
        one("vllm_image", "vllm/vllm-openai:cu130-nightly"),
        f'vllm_image: "vllm/vllm-openai:cu130-nightly" moves: cu130-nightly is another image tomorrow;'
        f" {FIXED_UPSTREAM} [moving, unknown]",
    ),
    (
        one("vllm_image", "vllm/vllm-openai"),
        f'vllm_image: "vllm/vllm-openai" has no tag, which means latest; {FIXED_UPSTREAM} [moving, unknown]',
    ),
    (
        one("vllm_image", "localhost:5000/a/b"),
        f'vllm_image: "localhost:5000/a/b" has no tag, which means latest; {FIXED_TAG} [moving, unknown]',
    ),
    (
        one("vllm_image", "nvcr.io/nvidia/vllm:25.90-py3"),
        'vllm_image: "nvcr.io/nvidia/vllm:25.90-py3" is not in the image matrix; use nvcr.io/nvidia/vllm:26.02-py3,'
        " or add it to vllm_images, or set vllm_image_allow: [unknown]",
    ),
    (
        one("vllm_image", "vllm/vllm-openai:v0.11.0"),
        'vllm_image: "vllm/vllm-openai:v0.11.0" is not in the image matrix; use vllm/vllm-openai:v0.20.0-cu130,'
        " or add it to vllm_images, or set vllm_image_allow: [unknown]",
    ),
    (
        one("vllm_image", "vllm/vllm-openai:v0.99.0"),
        f'vllm_image: "vllm/vllm-openai:v0.99.0" is not in the image matrix; use {NEWEST},'
        " or add it to vllm_images, or set vllm_image_allow: [unknown]",
    ),
    (
        one("vllm_image", "someone/vllm:1"),
        'vllm_image: "someone/vllm:1" is not in the image matrix; use nvcr.io/nvidia/vllm:25.09-py3,'
        " or add it to vllm_images, or set vllm_image_allow: [unknown]",
    ),
    (
        {"vllm_image": "someone/vllm:1", "vllm_model": "gpt-oss-20b"},
        'vllm_image: "someone/vllm:1" is not in the image matrix; use nvcr.io/nvidia/vllm:25.10-py3,'
        " or add it to vllm_images, or set vllm_image_allow: [unknown]",
    ),
    (
        one("vllm_image", f"nvcr.io/nvidia/vllm@{DIGEST}"),
        f"vllm_image: {show(f'nvcr.io/nvidia/vllm@{DIGEST}')} is not in the image matrix; write its tag before the @,"
        " as in nvcr.io/nvidia/vllm:26.09-py3@sha256:00000..., or add it to vllm_images, or set vllm_image_allow:"
        " [unknown]",
    ),
    (
        {"vllm_image": f"a/b:1@{DIGEST}", "vllm_images": {"a/b:1": {"digest": DIGEST.replace("0", "1")}}},
        f"vllm_image: {show(f'a/b:1@{DIGEST}')} has another digest than a/b:1; use"
        f" a/b:1@{DIGEST.replace('0', '1')}, or correct vllm_images",
    ),
    (
        {"vllm_image": "nvcr.io/nvidia/vllm:25.09-py3", "vllm_model": "example-org/Qwen3.6-35B-A3B-NVFP4"},
        'vllm_image: "nvcr.io/nvidia/vllm:25.09-py3" cannot run qwen3.6-35b-a3b-nvfp4, its vLLM 0.10.1.1 is older than'
        " 0.17, the first that knows it; use nvcr.io/nvidia/vllm:26.04-py3, or set vllm_image_allow: [cannot_run]",
    ),
    (
        one("vllm_image", "nvcr.io/nvidia/vllm:26.06-py3"),
        'vllm_image: "nvcr.io/nvidia/vllm:26.06-py3" is known to be broken on a Spark (Every request under /v1 fails'
        " with HTTP 500 while /health is green; Two hosts hang at start, unless NCCL_NVLS_ENABLE=0; Loading a WNA16"
        " mixture of experts with Marlin hangs the host); use nvcr.io/nvidia/vllm:26.07-py3, or set vllm_image_allow:"
        " [avoid]",
    ),
    (
        {"vllm_image": "a/b:1", "vllm_images": {"a/b:1": {"status": "avoid"}}},
        'vllm_image: "a/b:1" is known to be broken on a Spark (the matrix says so); use nvcr.io/nvidia/vllm:25.09-py3,'
        " or set vllm_image_allow: [avoid]",
    ),
    (
        {"vllm_model": "qwen3-vl-8b-fp8", "vllm_image": GUIDES},
        'vllm_image: "nvcr.io/nvidia/vllm:25.09-py3" cannot run qwen3-vl-8b-fp8, its vLLM 0.10.1.1 is older than'
        " 0.11.0, the first that knows it; use nvcr.io/nvidia/vllm:25.11-py3, or set vllm_image_allow: [cannot_run]",
    ),
    (
        one("vllm_image_allow", ["broken"]),
        'vllm_image_allow: "broken" is not allowed; use moving, avoid, unknown, cannot_run, advisory',
    ),
    (one("vllm_image_allow", "moving"), 'vllm_image_allow: "moving" is not allowed; use a list'),
    (
        one("vllm_image", "10.0.0.5:5000/nvidia/vllm:25.09-py3"),
        'vllm_image: "10.0.0.5:5000/nvidia/vllm:25.09-py3" is not in the image matrix; for a mirror use'
        " nvcr.io/nvidia/vllm:25.09-py3 and set vllm_image_registry to 10.0.0.5:5000",
    ),
    (
        one("vllm_image", "harbor.example.org/nvcr/nvidia/vllm:25.09-py3"),
        'vllm_image: "harbor.example.org/nvcr/nvidia/vllm:25.09-py3" is not in the image matrix; for a mirror use'
        " nvcr.io/nvidia/vllm:25.09-py3 and set vllm_image_registry to harbor.example.org/nvcr",
    ),
    (
        one("vllm_images", {"a/b:1": {"vllm": 0.32}}),
        'vllm_images[a/b:1].vllm: 0.32 is not allowed; use a version in quotes, such as "0.32.0"',
    ),
    (
        one("vllm_images", {"a/b:1": {"command_prefix": "vllm serve"}}),
        'vllm_images[a/b:1].command_prefix: "vllm serve" is not allowed; use a list of texts',
    ),
    (
        one("vllm_images", {"a/b:1": {"status": "fine"}}),
        'vllm_images[a/b:1].status: "fine" is not allowed; use good, unknown or avoid',
    ),
    (
        one("vllm_images", {"a/b:1": {"kernels": []}}),
        "vllm_images[a/b:1].kernels: unknown field; known: vllm, cuda, min_driver, nccl, digest, pull_bytes,"
        " unpacked_bytes, entrypoint, command_prefix, architectures, options, ray, multi_node, args, environment,"
        " status, faults, cannot_run, security, sources",
    ),
    (
        one("vllm_images", {"a/b:1": {"digest": "sha256:abc"}}),
        'vllm_images[a/b:1].digest: "sha256:abc" is not allowed; use sha256: and 64 hexadecimal digits',
    ),
    (
        one("vllm_images", {"a/b:1": {"ray": "yes"}}),
        'vllm_images[a/b:1].ray: "yes" is not allowed; use true or false',
    ),
    (
        one("vllm_images", {"a/b:1": {"faults": [{"why": "x"}]}}),
        "vllm_images[a/b:1].faults: a list is not allowed; use a list of {what, remedy, fixed_in, only_with: a"
        " mapping}",
    ),
    (
        {"vllm_image": "a/b:1", "vllm_images": {"a/b:1": {"vllm": "0.32.0", "args": {"swap_space": 4}}}},
        "vllm_images[a/b:1].args.swap_space: unknown option of vLLM 0.32.0; remove it: on a Spark it would be the"
        " memory of the GPU",
    ),
    (
        {"vllm_image": "a/b:1", "vllm_images": {"a/b:1": {"environment": {"HF_TOKEN": "x"}}}},
        "vllm_images[a/b:1].environment.HF_TOKEN: is not allowed here; set vllm_hf_token instead",
    ),
    (
        {"vllm_model": "gpt-oss-20b", "vllm_image": GUIDES},
        'vllm_image: "nvcr.io/nvidia/vllm:25.09-py3" cannot run gpt-oss-20b, its vLLM has no attention sinks;'
        " use nvcr.io/nvidia/vllm:26.04-py3, or set vllm_image_allow: [cannot_run]",
    ),
    # options of vLLM
    (
        one("vllm_extra_args", {"max_num_seq": 8}),
        "vllm_extra_args.max_num_seq: unknown option of vLLM 0.10.1.1; did you mean max_num_seqs?",
    ),
    (
        one("vllm_extra_args", {"wxyz": 8}),
        "vllm_extra_args.wxyz: unknown option of vLLM 0.10.1.1; `vllm serve --help` lists what there is",
    ),
    (
        one("vllm_extra_args", {"kv_cache_memory_bytes": 1}),
        "vllm_extra_args.kv_cache_memory_bytes: unknown option of vLLM 0.10.1.1; did you mean kv_cache_dtype?",
    ),
    (
        {**LATEST_RECORDED, "vllm_extra_args": {"swap_space": 4}},
        "vllm_extra_args.swap_space: unknown option of vLLM 0.32.0; remove it: on a Spark it would be the"
        " memory of the GPU",
    ),
    (
        {**LATEST_RECORDED, "vllm_extra_args": {"disable_log_requests": True}},
        "vllm_extra_args.disable_log_requests: unknown option of vLLM 0.32.0; remove it: requests are logged with"
        " enable_log_requests only",
    ),
    (
        one("vllm_extra_args", {"tp": 1}),
        "vllm_extra_args.tp: unknown option of vLLM 0.10.1.1; write tensor_parallel_size",
    ),
    (
        one("vllm_extra_args", {"-sc": {}}),
        "vllm_extra_args.-sc: is not the name of an option; write speculative_config",
    ),
    (
        one("vllm_extra_args", {"O3": True}),
        "vllm_extra_args.O3: is not the name of an option; write optimization_level: 3",
    ),
    (
        {"vllm_image": "mine:1", "vllm_image_allow": ["unknown"], "vllm_extra_args": {"mxfp4_layers": "moe"}},
        "vllm_extra_args.mxfp4_layers: unknown option of vLLM 0.10.1.1 to 0.33.0; `vllm serve --help` lists what there"
        ' is (or name it in vllm_images["mine:1"].options, if the image\'s own vLLM has it)',
    ),
    (
        one("vllm_extra_args", {"config": "/opt/files/vllm.yaml"}),
        "vllm_extra_args.config: is not allowed; it would bring options of a file that is neither checked nor planned;"
        " write them here instead",
    ),
    (
        one("vllm_extra_args", {"max-num-seqs": 8}),
        "vllm_extra_args.max-num-seqs: is not the name of an option; write max_num_seqs",
    ),
    (
        one("vllm_extra_args", {"--max-num-seqs": 8}),
        "vllm_extra_args.--max-num-seqs: is not the name of an option; write max_num_seqs",
    ),
    (
        one("vllm_extra_args", {"Max_Num_Seqs": 8}),
        "vllm_extra_args.Max_Num_Seqs: is not the name of an option; write max_num_seqs",
    ),
    (
        one("vllm_extra_args", {"enforce eager;": 8}),
        "vllm_extra_args.enforce eager;: is not the name of an option; use lower case letters, digits and _",
    ),
    (
        one("vllm_extra_args", {8: 8}),
        "vllm_extra_args.8: is not the name of an option; use lower case letters, digits and _",
    ),
    (
        one("vllm_extra_args", {"no_enable_prefix_caching": True}),
        "vllm_extra_args.no_enable_prefix_caching: unknown option of vLLM 0.10.1.1; write enable_prefix_caching: false",
    ),
    (
        one("vllm_extra_args", {"enforce_eager": "yes"}),
        'vllm_extra_args.enforce_eager: "yes" takes no value; use true, false or null',
    ),
    (
        one("vllm_extra_args", {"kv_cache_dtype": True}),
        "vllm_extra_args.kv_cache_dtype: true is not allowed; give the option a value",
    ),
    (
        one("vllm_extra_args", {"kv_cache_dtype": False}),
        "vllm_extra_args.kv_cache_dtype: false is not allowed; the option has no --no- form, use null to drop it",
    ),
    (
        one("vllm_extra_args", {"disable_log_stats": False}),
        "vllm_extra_args.disable_log_stats: false is not allowed; the option has no --no- form, use null to drop it",
    ),
    (
        one("vllm_extra_args", {"kv_cache_dtype": ""}),
        "vllm_extra_args.kv_cache_dtype: is empty; use null to drop the option",
    ),
    (
        one("vllm_extra_args", {"served_model_name": []}),
        "vllm_extra_args.served_model_name: is empty; use null to drop the option",
    ),
    (
        one("vllm_extra_args", {"headless": True}),
        "vllm_extra_args.headless: is not allowed; it would leave no HTTP server that the role can prove; remove it",
    ),
    (
        one("vllm_extra_args", {"ssl_keyfile": "/k"}),
        "vllm_extra_args.ssl_keyfile: is not allowed; it would end plain HTTP, which the role's"
        " proof uses; remove it, and end TLS in a proxy",
    ),
    *(
        (
            one("vllm_extra_args", {f"{kind}_parallel_size": value}),
            f"vllm_extra_args.{kind}_parallel_size: {show(value)} is not allowed; {ONE_GPU}",
        )
        for kind, value in (("tensor", 2), ("pipeline", "2"), ("data", 4))
    ),
    *(
        ({**LATEST_RECORDED, "vllm_extra_args": {name: 2}}, f"vllm_extra_args.{name}: 2 is not allowed; {ONE_GPU}")
        for name in (
            *("nnodes", "data_parallel_size_local"),
            *("prefill_context_parallel_size", "decode_context_parallel_size"),
        )
    ),
    # hosts that serve together
    *(
        (
            {"vllm_nodes": value},
            "vllm_nodes: is not allowed; use the names of two or more hosts, each once, or [] for a host alone",
        )
        for value in (["spark01"], ["spark01", "spark01"], ["spark01", 2])
    ),
    *(
        (
            pair(vllm_node_address=address),
            f'vllm_node_address: "{address}" is not allowed with vllm_nodes; use the IPv4 address of this host between'
            " them, such as 192.168.100.1",
        )
        for address in ("", "127.0.0.1", "0.0.0.0", "spark01")
    ),
    (pair(vllm_master_port=80), "vllm_master_port: 80 is not allowed; use a TCP port from 1024 to 65535"),
    (pair(vllm_master_port=8000), "vllm_master_port: 8000 is vllm_port, too; use another port"),
    *(
        (
            pair(vllm_extra_args={name: value}),
            f"vllm_extra_args.{name}: is not allowed with vllm_nodes, which sets it; remove it",
        )
        for name, value in (
            ("nnodes", 2),
            ("node_rank", 0),
            ("master_addr", "a"),
            ("distributed_executor_backend", "ray"),
        )
    ),
    (
        pair(vllm_extra_args={"data_parallel_size": 2}),
        f"vllm_extra_args.data_parallel_size: 2 is not allowed; {ONE_GPU}",
    ),
    (
        pair(vllm_extra_args={"tensor_parallel_size": 2, "pipeline_parallel_size": 2}),
        "vllm_nodes: 2 hosts serve together, and tensor_parallel_size 2 times pipeline_parallel_size 2 is 4; make it 2,"
        " or remove both options",
    ),
    (
        pair("spark03", "spark04", **own_model(kv_heads=6)),
        "vllm_nodes: 4 hosts cannot divide the 6 KV heads of mine; use another number of hosts, or"
        " pipeline_parallel_size: 4 in vllm_extra_args",
    ),
    (
        pair("spark03", **own_model(layers=2, hidden_layers=2), vllm_extra_args={"pipeline_parallel_size": 3}),
        "vllm_extra_args.pipeline_parallel_size: 3 is not allowed, because mine has 2 layers, and each stage needs one;"
        " use fewer hosts",
    ),
    (
        pair(
            **own_model(layers=36, hidden_layers=36),
            vllm_extra_args={"pipeline_parallel_size": 2},
            vllm_extra_env={"VLLM_PP_LAYER_PARTITION": "20,20"},
        ),
        'vllm_extra_env.VLLM_PP_LAYER_PARTITION: "20,20" is not allowed, because mine has 36 layers, and not 40; use'
        ' "18,18"',
    ),
    (
        pair(vllm_image=OLD, vllm_images={OLD: {"ray": False}}),
        f'vllm_image: "{OLD}" cannot serve a model on several hosts (its vLLM has no option nnodes, and it has no Ray);'
        f" use {SPANS}",
    ),
    (
        pair(vllm_image=OLD, vllm_master_port=65500),
        "vllm_master_port: 65500 is not allowed with this image, whose Ray uses the ports up to 65599; use one up to"
        " 65436",
    ),
    (
        pair(vllm_image=OLD, vllm_master_port=7950),
        "vllm_master_port: 7950 is not allowed with this image, whose Ray uses the ports up to 8049, and vllm_port 8000"
        " is one of them; use another port",
    ),
    (
        pair(vllm_image=BETWEEN),
        f'vllm_image: "{BETWEEN}" has NCCL 2.28.9, with which hosts that serve together hang after a while (before'
        " 2.29.3); use vllm/vllm-openai:v0.28.0, or set vllm_image_allow: [avoid]",
    ),
    (
        pair(
            vllm_image="nvcr.io/nvidia/vllm:26.06-py3",
            vllm_image_allow=["avoid"],
            vllm_extra_env={"NCCL_NVLS_ENABLE": "1"},
        ),
        'vllm_extra_env.NCCL_NVLS_ENABLE: is not 0, and with NCCL 2.30.4 of "nvcr.io/nvidia/vllm:26.06-py3" hosts that'
        ' serve together hang at the start; set it to "0"',
    ),
    (
        pair(vllm_extra_env={"NCCL_IB_GID_INDEX": 3}),
        "vllm_extra_env.NCCL_IB_GID_INDEX: is not allowed with vllm_nodes, because the number of a GID changes with the"
        " addresses; remove it, NCCL finds it by itself",
    ),
    *(
        (
            pair(vllm_extra_env={name: folder}),
            f"vllm_extra_env.{name}: is not allowed with vllm_nodes, because FlashInfer's tuning would be kept over"
            " restarts, and hosts that serve together hang with it; remove it",
        )
        for name, folder in (
            ("VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR", "/root/.cache/tuned"),
            ("VLLM_CACHE_ROOT", "/root/.cache"),
            ("VLLM_CACHE_ROOT", "~/.cache/other"),
            ("XDG_CACHE_HOME", "/root/.cache/../.cache/xdg"),
        )
    ),
    (
        own_model(args={"tensor_parallel_size": 2}),
        f"vllm_models.mine.args.tensor_parallel_size: 2 is not allowed; {ONE_GPU}",
    ),
    # options that have a variable
    *(
        (one("vllm_extra_args", {option: 1}), f"vllm_extra_args.{option}: is not allowed here; set {variable} instead")
        for option, variable in (
            ("model", "vllm_model"),
            ("host", "vllm_publish_address"),
            ("port", "vllm_port"),
            ("--port", "vllm_port"),
            ("uds", "vllm_port"),
            ("api_key", "vllm_api_key"),
            ("api-key", "vllm_api_key"),
            ("hf_token", "vllm_hf_token"),
            ("gpu_memory_utilization", "vllm_gpu_memory_utilization"),
            ("device_memory_utilization", "vllm_gpu_memory_utilization"),
            ("max_model_len", "vllm_max_model_len"),
            ("download_dir", "hf_cache_path"),
        )
    ),
    # secrets where they do not belong
    *(
        (one("vllm_extra_args", {f"--{option}{KEY}": None}), f"vllm_extra_args.--{option[:-1]}: {moved} instead")
        for option, moved in (
            ("api-key=", "is not allowed here; set vllm_api_key"),
            ("hf-token ", "is not allowed here; set vllm_hf_token"),
        )
    ),
    (one("vllm_extra_args", {"served_model_name": TOKEN}), f"vllm_extra_args.served_model_name: holds a {READABLE}"),
    (
        {"vllm_api_key": KEY, "vllm_extra_args": {"hf_overrides": {"a": [f"x{KEY}"]}}},
        f"vllm_extra_args.hf_overrides: holds a {READABLE}",
    ),
    (
        one("vllm_extra_env", {"AWS_SECRET_ACCESS_KEY": "x"}),
        f"vllm_extra_env.AWS_SECRET_ACCESS_KEY: looks like a {READABLE}",
    ),
    (one("vllm_extra_env", {"NOTE": f"see {TOKEN}"}), f"vllm_extra_env.NOTE: looks like a {READABLE}"),
    ({"vllm_api_key": KEY, "vllm_extra_env": {"NOTE": KEY}}, f"vllm_extra_env.NOTE: looks like a {READABLE}"),
    *(
        (one("vllm_extra_env", {name: "1"}), f"vllm_extra_env.{name}: is not allowed here; set {variable} instead")
        for name, variable in (
            ("HF_TOKEN", "vllm_hf_token"),
            ("HUGGING_FACE_HUB_TOKEN", "vllm_hf_token"),
            ("VLLM_API_KEY", "vllm_api_key"),
            ("HF_ENDPOINT", "vllm_hf_endpoint"),
            ("HF_HUB_OFFLINE", "vllm_hf_offline"),
            ("HF_HOME", "hf_cache_path"),
            ("HUGGINGFACE_HUB_CACHE", "hf_cache_path"),
            ("HF_HUB_CACHE", "hf_cache_path"),
        )
    ),
    (
        one("vllm_extra_env", {"A-B": "1"}),
        "vllm_extra_env.A-B: is not the name of an environment variable; use letters, digits and _",
    ),
    (
        one("vllm_extra_env", {"A": True}),
        'vllm_extra_env.A: true is not allowed; write the text that the program wants, such as "1" or "0"',
    ),
    *(
        (
            one("vllm_extra_env", {"https_proxy": address}),
            f"vllm_extra_env.https_proxy: holds a password that {NO_PASSWORD}",
        )
        for address in ("http://me:s3cret@proxy:3128", "me:s3cret@proxy:3128", "http://:s3cret@proxy")
    ),
    (
        own_model(environment={"REDIS": "redis://:s3cret@cache/0"}),
        f"vllm_models.mine.environment.REDIS: holds a password that {NO_PASSWORD}",
    ),
    (one("vllm_extra_env", {"A": None}), "vllm_extra_env.A: null is not allowed; use one text or number"),
    (one("vllm_extra_env", {"A": ["b"]}), "vllm_extra_env.A: a list is not allowed; use one text or number"),
    (one("vllm_extra_env", {"A": "b\nc"}), "vllm_extra_env.A: holds a line break; use one line"),
    *(
        (
            one("vllm_extra_env", {"A": f"b{control}c"}),
            f"vllm_extra_env.A: holds the control character {name}; remove it",
        )
        for control, name in (("\x85", "U+0085"), ("\x7f", "U+007F"), ("\x9b", "U+009B"), ("\u202e", "U+202E"))
    ),
    (
        one("vllm_extra_args", {"chat_template": "b\x85c"}),
        "vllm_extra_args.chat_template: holds the control character U+0085; remove it",
    ),
    (
        one("vllm_extra_args", {"hf_overrides": {"a": ["b\u2028"]}}),
        "vllm_extra_args.hf_overrides: holds the control character U+2028; remove it",
    ),
    (
        {"vllm_profile": "a\x85b", "vllm_profiles": {"a\x85b": {"args": {"gpu_memory_utilization": 0.8}}}},
        "vllm_profile: holds the control character U+0085; remove it, in vllm_profiles too",
    ),
    # sizes
    (one("vllm_gpu_memory_utilization", 1.5), f"vllm_gpu_memory_utilization: 1.5 is not allowed; {UTILIZATION}"),
    (one("vllm_gpu_memory_utilization", 0), f"vllm_gpu_memory_utilization: 0 is not allowed; {UTILIZATION}"),
    (one("vllm_gpu_memory_utilization", -0.5), f"vllm_gpu_memory_utilization: -0.5 is not allowed; {UTILIZATION}"),
    (one("vllm_gpu_memory_utilization", "0.96"), f"vllm_gpu_memory_utilization: 0.96 is not allowed; {UTILIZATION}"),
    (one("vllm_gpu_memory_utilization", 90), f"vllm_gpu_memory_utilization: 90 is not allowed; {UTILIZATION}"),
    (one("vllm_max_model_len", 0), "vllm_max_model_len: 0 is not allowed; use at least 1 token"),
    (one("vllm_max_model_len", -1), "vllm_max_model_len: -1 is not allowed; use at least 1 token"),
    (
        one("vllm_max_model_len", 65536),
        "vllm_max_model_len: 65536 is over the 40960 tokens of qwen3-8b-fp8; use at most 40960, or"
        " stretch it to 131072 with"
        " vllm_extra_args: {hf_overrides: {rope_scaling: {rope_type: yarn, factor: 4.0,"
        " original_max_position_embeddings: 32768}}}",
    ),
    # what no Spark can hold
    (
        {"vllm_model": "llama33-70b-fp8", "vllm_max_model_len": 131072},
        "vllm_model: llama33-70b-fp8 does not fit into the memory of a Spark: one request of 131,072 tokens needs"
        f" 40.0 GiB of KV cache, and there are 37.4 GiB, {SHARE} less 67.7 GiB of weights and 4.4 GiB for"
        " activations, graphs and the engine; what fits: 1. vllm_max_model_len: 121856 instead of 131072; 122656 is the"
        " longest that fits 2. vllm_extra_args: {kv_cache_dtype: fp8}; KV cache of 245,344 tokens, 1.9 requests of"
        " 131,072 tokens 3. vllm_model: llama33-70b-nvfp4, with 39.8 GiB of weights; KV cache of 214,064 tokens, 1.6"
        f" requests of 131,072 tokens; {TRY_IT}",
    ),
    (
        {**own_model(weights_bytes=2 * 10**12), "vllm_auto_remedy": True},
        "vllm_model: mine does not fit into the memory of a Spark: 1862.6 GiB of weights and 2.4 GiB for activations,"
        f" graphs and the engine are more than the 109.5 GiB that vLLM may use ({SHARE}); use another model; {TRY_IT}",
    ),
    (
        {**LATEST_RECORDED, "vllm_max_model_len": "65536"},
        "vllm_max_model_len: 65536 is over the 40960 tokens of qwen3-8b-fp8; use at most 40960, or" + YARN_FROM_0_12,
    ),
    (
        {"vllm_image": "nvcr.io/nvidia/vllm:26.04-py3", "vllm_max_model_len": 65536},
        "vllm_max_model_len: 65536 is over the 40960 tokens of qwen3-8b-fp8; use at most 40960, or" + YARN_FROM_0_12,
    ),
    (
        {"vllm_image": "nvcr.io/nvidia/vllm:26.01-py3", "vllm_max_model_len": 65536},
        "vllm_max_model_len: 65536 is over the 40960 tokens of qwen3-8b-fp8; use at most 40960, or"
        " stretch it to 131072 with"
        " vllm_extra_args: {hf_overrides: {rope_scaling: {rope_type: yarn, factor: 4.0,"
        " original_max_position_embeddings: 32768}}}",
    ),
    (
        {
            **LATEST_RECORDED,
            **own_model(extended_context=80000, yarn={"factor": 2.0, "original_max_position_embeddings": 40000}),
            "vllm_max_model_len": 65536,
        },
        "vllm_max_model_len: 65536 is over the 40000 tokens of mine; use at most 40000, or stretch it to 80000 with"
        " vllm_extra_args: {hf_overrides: {max_position_embeddings: 80000, rope_parameters: {rope_type: yarn,"
        " rope_theta: THAT OF ITS config.json, factor: 2.0, original_max_position_embeddings: 40000}}}",
    ),
    (
        one("vllm_max_model_len", 200000),
        "vllm_max_model_len: 200000 is over the 40960 tokens of qwen3-8b-fp8; use at most 40960",
    ),
    (
        {"vllm_max_model_len": 200000, "vllm_extra_args": {"rope_scaling": {"rope_type": "yarn"}}},
        "vllm_max_model_len: 200000 is over the 131072 tokens of qwen3-8b-fp8; use at most 131072",
    ),
    (
        {"vllm_model": "llama33-70b-fp8", "vllm_max_model_len": 131073},
        "vllm_max_model_len: 131073 is over the 131072 tokens of llama33-70b-fp8; use at most 131072",
    ),
    (
        {"vllm_model": "mine", "vllm_models": {"mine": {**OWN_MODEL, "native_context": 8192}}},
        "vllm_profiles.throughput.args.max_model_len: 32768 is over the 8192 tokens of mine; use at most 8192,"
        " in vllm_max_model_len",
    ),
    (
        one("vllm_extra_args", {"max_num_batched_tokens": 32}),
        "vllm_extra_args.max_num_batched_tokens: 32 is less than max_num_seqs (64); use at least 64,"
        " or lower max_num_seqs",
    ),
    (
        one("vllm_extra_args", {"max_num_seqs": 20000}),
        "vllm_profiles.throughput.args.max_num_batched_tokens: 16384 is less than max_num_seqs (20000);"
        " use at least 20000, or lower max_num_seqs",
    ),
    (
        one("vllm_extra_args", {"enable_chunked_prefill": False}),
        "vllm_profiles.throughput.args.max_num_batched_tokens: 16384 is less than the context of"
        " 32768 tokens, and chunked"
        " prefill is off; use at least 32768, or drop enable_chunked_prefill: false",
    ),
    (
        one("vllm_extra_args", {"max_num_seqs": 0}),
        "vllm_extra_args.max_num_seqs: 0 is not allowed; use a whole number above 0",
    ),
    (
        one("vllm_extra_args", {"max_num_seqs": "many"}),
        'vllm_extra_args.max_num_seqs: "many" is not allowed; use a whole number above 0',
    ),
    (
        {"vllm_image": NEWEST, "vllm_extra_args": {"kv_offloading_size": "20G"}},
        'vllm_extra_args.kv_offloading_size: "20G" is not allowed; use a number of GiB, 0 or more, such as 20',
    ),
    (
        {"vllm_profile": "own", "vllm_profiles": {"own": {"args": {"max_model_len": "auto"}}}},
        'vllm_profiles.own.args.max_model_len: "auto" is not allowed; use a whole number above 0',
    ),
    (
        one("vllm_extra_env", {"VLLM_CPU_KVCACHE_SPACE": "4G"}),
        'vllm_extra_env.VLLM_CPU_KVCACHE_SPACE: "4G" is not allowed; use a number of GiB such as 5',
    ),
    (
        one("vllm_extra_env", {"LMCACHE_MAX_LOCAL_CPU_SIZE": "20G"}),
        'vllm_extra_env.LMCACHE_MAX_LOCAL_CPU_SIZE: "20G" is not allowed; use a number of GiB such as 5',
    ),
    (one("vllm_drain_timeout", 7200), "vllm_drain_timeout: 7200 is not allowed; use 0 to 3600 seconds"),
    (one("vllm_logs_lines", 0), "vllm_logs_lines: 0 is not allowed; use at least 1 line"),
    (
        one("vllm_export_folder", ""),
        'vllm_export_folder: "" is not allowed; use a folder on the controller, such as exports',
    ),
    (
        one("vllm_logs_since", "yesterday"),
        'vllm_logs_since: "yesterday" is not allowed; use a span such as 2h or 1h30m, or a time in UTC such as'
        " 2026-11-29T05:00",
    ),
    (
        one("vllm_logs_pattern", "("),
        'vllm_logs_pattern: "(" is no regular expression of Python; correct it: missing ), unterminated subpattern at'
        " position 0",
    ),
    (one("vllm_memory_reserve_gib", -1), "vllm_memory_reserve_gib: -1 is not allowed; use 0 to 100 GiB"),
    (one("vllm_memory_reserve_gib", 128), "vllm_memory_reserve_gib: 128 is not allowed; use 0 to 100 GiB"),
    # network
    (one("vllm_port", 99999), "vllm_port: 99999 is not allowed; use a TCP port from 1 to 65535"),
    (one("vllm_port", "99999"), "vllm_port: 99999 is not allowed; use a TCP port from 1 to 65535"),
    (one("vllm_port", 0), "vllm_port: 0 is not allowed; use a TCP port from 1 to 65535"),
    (one("vllm_port", -8000), "vllm_port: -8000 is not allowed; use a TCP port from 1 to 65535"),
    (
        one("vllm_publish_address", "0.0.0.0"),
        'vllm_publish_address: "0.0.0.0" would publish the server to everybody without a key; set vllm_api_key,'
        " or vllm_publish_without_api_key: true",
    ),
    (
        {"vllm_publish_address": "192.168.1.7", "vllm_publish_without_api_key": "no"},
        'vllm_publish_address: "192.168.1.7" would publish the server to everybody without a key; set vllm_api_key,'
        " or vllm_publish_without_api_key: true",
    ),
    (
        {"vllm_publish_address": "192.168.1.7", "vllm_api_key": KEY, "vllm_image": "nvcr.io/nvidia/vllm:26.05-py3"},
        f'vllm_image: "nvcr.io/nvidia/vllm:26.05-py3" {HOST_HEADER} and would be published on 192.168.1.7; use'
        " nvcr.io/nvidia/vllm:26.07-py3, or vllm_publish_address: 127.0.0.1, or set vllm_image_allow: [advisory]",
    ),
    (
        {
            "vllm_publish_address": "0.0.0.0",
            "vllm_publish_without_api_key": True,
            "vllm_image": "x/y:1",
            "vllm_images": {"x/y:1": {"vllm": "0.32.0", "security": ["CVE-1"]}},
        },
        'vllm_image: "x/y:1" has a security advisory (CVE-1) and would be published on 0.0.0.0; use'
        " nvcr.io/nvidia/vllm:26.07-py3, or vllm_publish_address: 127.0.0.1, or set vllm_image_allow: [advisory]",
    ),
    (
        {"vllm_api_key": KEY, "vllm_extra_env": {"VLLM_USE_RUST_FRONTEND": "1"}},
        "vllm_extra_env.VLLM_USE_RUST_FRONTEND: is not allowed with vllm_api_key; that server loads no middleware, and"
        " would answer most paths without the key: remove it",
    ),
    *(
        (
            one("vllm_publish_address", address),
            f'vllm_publish_address: "{address}" is not allowed; use an IPv4 address of the host, 127.0.0.1 or 0.0.0.0',
        )
        for address in ("", "localhost", "127.0.0.1:8000", "300.1.1.1", "::1", "*")
    ),
    *(
        (
            one("vllm_image_registry", registry),
            f'vllm_image_registry: "{registry}" is not allowed; use host.domain or host:port, with the path in it if'
            " the mirror has one (harbor.example.org/nvcr), without https://",
        )
        for registry in (
            *("https://mirror.example.org", "mirror.example.org/", "mirror", "mirror/path", "user@mirror", "mirror:"),
            *("mirror.example.org/Path", "mirror.example.org//path", "mirror.example.org/path:5000", "localhostess/a"),
        )
    ),
    (
        one("vllm_hf_endpoint", "hub.example.org"),
        'vllm_hf_endpoint: "hub.example.org" is not allowed; use an address such as https://mirror.example.org',
    ),
    *(
        (
            {"vllm_hf_endpoint": endpoint, "vllm_hf_token": "hf_" + "a1B2" * 8},
            f'vllm_hf_endpoint: "{endpoint}" would get vllm_hf_token unencrypted; use https://, leave vllm_hf_token'
            " empty, or set vllm_hf_token_over_http: true",
        )
        for endpoint in (
            "http://hub.lan",
            "http://10.0.0.2:8080/hf",
            "http://localhost.evil.org",
            "http://127.0.0.1.a.org",
        )
    ),
    (
        one("vllm_hf_endpoint", "https://a b"),
        'vllm_hf_endpoint: "https://a b" is not allowed; use an address such as https://mirror.example.org',
    ),
    (
        one("vllm_hf_endpoint", "https://me:pw@hub"),
        "vllm_hf_endpoint: must not hold a user or password; use an address such as https://mirror.example.org",
    ),
    # names and folders
    (
        one("vllm_swap_group", "Big Models"),
        'vllm_swap_group: "Big Models" is not allowed; use up to 25 lower case letters, digits and -, such as chat',
    ),
    *(
        (one("vllm_service_name", name), f'vllm_service_name: "{name}" is not allowed; use {SERVICE}')
        for name in (
            "Vllm",
            "1vllm",
            "vl lm",
            "vllm/x",
            "",
            "vllm-" + "v" * 26,
            "vllm.service",
            "vllm_2",
            "ssh",
            "docker",
        )
    ),
    *(
        (one("vllm_container_name", name), f'vllm_container_name: "{name}" is not allowed; use {CONTAINER}')
        for name in ("-x", "a b", "a/b", "a", "ümlaut")
    ),
    (one("hf_cache_path", "opt/hf"), 'hf_cache_path: "opt/hf" is not allowed; use an absolute path such as /opt/hf'),
    (one("hf_cache_path", "~/hf"), 'hf_cache_path: "~/hf" is not allowed; use an absolute path such as /opt/hf'),
    (one("hf_cache_path", ""), 'hf_cache_path: "" is not allowed; use an absolute path such as /opt/hf'),
    (one("hf_cache_path", "/"), 'hf_cache_path: "/" is a folder of the system; use one of its own such as /opt/hf'),
    (
        one("hf_cache_path", "/opt/"),
        'hf_cache_path: "/opt/" is a folder of the system; use one of its own such as /opt/hf',
    ),
    (one("hf_cache_path", "/opt/hf:rw"), f'hf_cache_path: "/opt/hf:rw" is not allowed; {FOLDER}'),
    (one("hf_cache_path", "/opt/my models"), f'hf_cache_path: "/opt/my models" is not allowed; {FOLDER}'),
    (one("hf_cache_path", "/opt/../etc"), f'hf_cache_path: "/opt/../etc" is not allowed; {FOLDER}'),
    (one("hf_cache_path", "/opt/hf\n"), f'hf_cache_path: "/opt/hf\\n" is not allowed; {FOLDER}'),
    (
        one("hf_cache_path", "/opt/vllm"),
        'hf_cache_path: "/opt/vllm" lies in the folder of the service; use another such as /opt/hf',
    ),
    (
        {"vllm_home": "/data", "hf_cache_path": "/data/hf"},
        'hf_cache_path: "/data/hf" lies in the folder of the service; use another such as /opt/hf',
    ),
    (one("vllm_home", "srv/vllm"), 'vllm_home: "srv/vllm" is not allowed; use an absolute path such as /opt/vllm'),
    *(
        (one(name, path), f'{name}: "{path}" is a folder of the system; use one of its own such as {example}')
        for name, example in (("vllm_home", "/opt/vllm"), ("hf_cache_path", "/opt/hf"))
        for path in (
            *("/etc", "/etc/docker", "/etc/systemd/x", "/home/nvidia", "/home/nvidia/", "/root", "/usr/local"),
            *("/usr/local/lib/dgxspark", "/usr/share/x", "/var/lib", "/var/lib/docker", "/var/lib/docker/x", "/lib64"),
            *("/boot/efi", "/proc/x", "/sys/x", "/run/x", "/dev/shm/x", "/tmp/x", "/var/tmp/x", "//etc//docker"),
        )
    ),
    (
        one("vllm_home", "/opt/hf/vllm"),
        'vllm_home: "/opt/hf/vllm" lies in hf_cache_path (/opt/hf); use another folder such as /opt/vllm',
    ),
    # secrets
    (
        one("vllm_hf_token", f"{TOKEN}\n"),
        f"vllm_hf_token: its value holds a line break; use the token alone, {SECRET}",
    ),
    (one("vllm_hf_token", f"{TOKEN} "), f"vllm_hf_token: its value holds a blank; use the token alone, {SECRET}"),
    (one("vllm_hf_token", f'"{TOKEN}"'), f"vllm_hf_token: its value holds a quote; use the token alone, {SECRET}"),
    (one("vllm_hf_token", f"{TOKEN}'"), f"vllm_hf_token: its value holds a quote; use the token alone, {SECRET}"),
    (
        one("vllm_hf_token", f"{TOKEN}\\"),
        f"vllm_hf_token: its value holds a backslash; use the token alone, {SECRET}",
    ),
    (
        one("vllm_hf_token", f"{TOKEN}\x00"),
        f"vllm_hf_token: its value holds a character that is not printable ASCII; use the token alone, {SECRET}",
    ),
    (
        one("vllm_hf_token", "hf_your_token_here"),
        "vllm_hf_token: its value is the placeholder of a guide; use your own token, or leave it empty",
    ),
    (
        one("vllm_hf_token", "${HF_TOKEN}"),
        "vllm_hf_token: its value is a template that was not filled in; use the token itself",
    ),
    (
        one("vllm_api_key", "too-short-a-key"),
        "vllm_api_key: its value is shorter than 16 characters; use one from `openssl rand -hex 24`",
    ),
    (one("vllm_api_key", "two words"), f"vllm_api_key: its value holds a blank; use the key alone, {SECRET}"),
    # limits
    (
        one("vllm_entrypoint", ["", "serve"]),
        "vllm_entrypoint[0]: is empty; use the program that the container starts, such as bash, or [] for that of the"
        " image",
    ),
    *(
        (
            one("vllm_container_user", value),
            f'vllm_container_user: "{value}" is not allowed; use the numbers of a user and a group in quotes, such as'
            ' "1000:1000", or "" for the user of the image',
        )
        for value in ("root", "0:0", "1000", "nobody:nogroup", "1000:1000:1", "-1:0", "1000:users")
    ),
    (
        pair(vllm_container_user="1000:1000"),
        'vllm_container_user: "1000:1000" is not allowed with vllm_nodes, whose ranks lock memory for RDMA; use ""',
    ),
    (
        one("vllm_entrypoint", ["python3", "-m", "vllm.entrypoints.openai.api_server"]),
        "vllm_entrypoint[2]: vllm.entrypoints.openai.api_server takes the model as an option only, and would serve"
        " another one; remove vllm_entrypoint, `vllm serve` is the same server",
    ),
    (one("vllm_entrypoint", ["bash", "a\x07b"]), "vllm_entrypoint[1]: holds the control character U+0007; remove it"),
    (
        {"vllm_entrypoint": ["bash", "-c", f"HF_TOKEN={TOKEN} vllm serve"], "vllm_hf_token": TOKEN},
        f"vllm_entrypoint[2]: holds a {READABLE}",
    ),
    (one("vllm_ulimits", {"memlok": -1}), "vllm_ulimits.memlok: unknown limit; did you mean memlock?"),
    (
        one("vllm_ulimits", {"memlock": "unlimited"}),
        'vllm_ulimits.memlock: "unlimited" is not allowed; use a whole number without leading zeros, -1 for no limit',
    ),
    (
        one("vllm_ulimits", {"nofile": "010"}),
        'vllm_ulimits.nofile: "010" is not allowed; use a whole number without leading zeros, -1 for no limit',
    ),
    (
        one("vllm_ulimits", {"memlock": -2}),
        "vllm_ulimits.memlock: -2 is not allowed; use a whole number without leading zeros, -1 for no limit",
    ),
    (
        one("vllm_ulimits", {"stack": {"soft": 1}}),
        "vllm_ulimits.stack: is not allowed; use a number, or soft and hard",
    ),
    (
        one("vllm_ipc", "hosts"),
        'vllm_ipc: "hosts" is not allowed; use host, private, shareable, none, service:NAME or container:NAME',
    ),
    (one("vllm_start_timeout", 5), "vllm_start_timeout: 5 is not allowed; use at least 60 seconds"),
    (one("vllm_stall_timeout", 0), "vllm_stall_timeout: 0 is not allowed; use at least 30 seconds"),
    (one("vllm_phase_timeouts", {"lod": 60}), "vllm_phase_timeouts.lod: unknown phase; did you mean load?"),
    (
        one("vllm_phase_timeouts", {"load": "soon"}),
        'vllm_phase_timeouts.load: "soon" is not allowed; use whole seconds, at least 1',
    ),
    (one("vllm_auto_remedy", "maybe"), 'vllm_auto_remedy: "maybe" is not allowed; use true or false'),
    # what the container sees of the owner; more in test__validate_mounts.py
    (one("vllm_model", "./mine"), f'vllm_model: "./mine" {WHOLE_PATH}'),
    (
        one("vllm_model", "/srv"),
        'vllm_model: "/srv" is a folder of the system; use one of its own such as /srv/models/mine',
    ),
    (
        one("vllm_models", {"mine": {**OWN_MODEL, "id": "./mine"}}),
        'vllm_models.mine.id: "./mine" is not allowed; use a Hugging Face id such as Qwen/Qwen3-8B-FP8, or the whole'
        " path of a folder such as /srv/models/mine",
    ),
    (
        one("vllm_models", {"mine": {**OWN_MODEL, "id": "/srv/models/mine", "revision": "v2"}}),
        'vllm_models.mine.revision: "v2" is of the hub, and id is a folder; remove it',
    ),
    (files("template.jinja"), f"vllm_files[0]: is not allowed; use a mapping such as {FILE}"),
    (
        files({"content": {"a": KEY}, "target": "/opt/files/a"}),
        "vllm_files[0].content: is not a text; use one, such as content: |",
    ),
    (
        files({"content": "", "target": "/root/.cache/a"}),
        'vllm_files[0].target: "/root/.cache/a" and /root/.cache of the collection lie in one another, so that one'
        " would hide the other; use another path such as /opt/files/NAME",
    ),
    (
        mounts({"source": "/srv/data", "target": "/data", "read_only": "no"}),
        'vllm_mounts[0].read_only: "no" is not allowed; use true or false',
    ),
    (
        mounts({"source": "/var/run/docker.sock", "target": "/docker.sock"}),
        'vllm_mounts[0].source: "/var/run/docker.sock" is a folder of the system; use one of its own such as /srv/data',
    ),
    (
        mounts({"source": "/opt/vllm/current/.env", "target": "/data"}),
        'vllm_mounts[0].source: "/opt/vllm/current/.env" and vllm_home (/opt/vllm), which holds secrets, lie in one'
        " another; use another folder",
    ),
    # odd values
    *(
        (
            one("vllm_entrypoint", [word]),
            f"vllm_entrypoint[0]: {show(word)} is not allowed; use a text; write it in quotes",
        )
        for word in (1, None, ["bash"], {"bash": None})
    ),
    (one("vllm_port", "8000\u200b"), 'vllm_port: "8000\\u200b" is not allowed; use a whole number'),
    (one("vllm_port", "8000\U000e0001"), 'vllm_port: "8000\\U000e0001" is not allowed; use a whole number'),
    (one("vllm_gpu", "cdi\u00a0"), 'vllm_gpu: "cdi\\u00a0" is not allowed; use auto, nvidia, cdi, none'),
    (one("vllm_service_name", ""), f'vllm_service_name: "" is not allowed; use {SERVICE}'),
    (one("vllm_home", "//"), 'vllm_home: "//" is a folder of the system; use one of its own such as /opt/vllm'),
    *(
        (
            one("vllm_extra_args", {name: value}),
            f'vllm_extra_args.{name}: "2026-01-31" is a date to YAML; write it in quotes',
        )
        for name, value in (
            ("revision", DATE),
            ("served_model_name", ["chat", DATE]),
            ("hf_overrides", {"a": {"b": [DATE]}}),
            ("max_num_seqs", DATE),
        )
    ),
    *(
        (
            one("vllm_images", {"a/b:1": {"vllm": version}}),
            f'vllm_images[a/b:1].vllm: "{version}" is not allowed; use a version in quotes, such as "0.32.0"',
        )
        for version in ("1e3", "10GB", "٣", "latest")
    ),
    (one("vllm_start_timeout", 10**30), f"vllm_start_timeout: {10**30} is not allowed; use at most 604800 seconds"),
    (one("vllm_stall_timeout", 10**9), "vllm_stall_timeout: 1000000000 is not allowed; use at most 604800 seconds"),
    (
        one("vllm_phase_timeouts", {"load": 10**30}),
        f"vllm_phase_timeouts.load: {10**30} is not allowed; use whole seconds, at most 604800",
    ),
    (one("vllm_keep_releases", 10**9), "vllm_keep_releases: 1000000000 is not allowed; use at most 1000 releases"),
    (one("vllm_logs_lines", 10**9), "vllm_logs_lines: 1000000000 is not allowed; use at most 1000000 lines"),
    (one("vllm_watch_interval", 0), "vllm_watch_interval: 0 is not allowed; use at least 1 second"),
    (one("vllm_watch_count", -1), "vllm_watch_count: -1 is not allowed; use at least 0 rounds"),
    *(
        (
            one("vllm_report_mode", value),
            f'vllm_report_mode: "{value}" is not allowed; use four octal digits in quotes, such as "0600"',
        )
        for value in (416, "rw", "u=rw", "640", "0800", "")
    ),
    (
        one("vllm_hf_endpoint", "http://mirror.lan:99999"),
        'vllm_hf_endpoint: "http://mirror.lan:99999" is not allowed; use an address such as https://mirror.example.org',
    ),
    (
        one("vllm_image_registry", "10.0.0.5:70000"),
        'vllm_image_registry: "10.0.0.5:70000" is not allowed; use host.domain or host:port, with the path in it if the'
        " mirror has one (harbor.example.org/nvcr), without https://",
    ),
]

BAD_HOST: list[tuple[str, Values, str]] = [
    (
        "hf_cache",
        one("hf_cache_path", "opt/hf"),
        'hf_cache_path: "opt/hf" is not allowed; use an absolute path such as /opt/hf',
    ),
    (
        "hf_cache",
        one("hf_cache_path", "/"),
        'hf_cache_path: "/" is a folder of the system; use one of its own such as /opt/hf',
    ),
    (
        "hf_cache",
        one("hf_cache_path", "/home/"),
        'hf_cache_path: "/home/" is a folder of the system; use one of its own such as /opt/hf',
    ),
    ("hf_cache", one("hf_cache_mode", 493), f'hf_cache_mode: "493" is not allowed; {MODE}'),
    ("hf_cache", one("hf_cache_mode", "755"), f'hf_cache_mode: "755" is not allowed; {MODE}'),
    ("hf_cache", one("hf_cache_mode", "u=rwx"), f'hf_cache_mode: "u=rwx" is not allowed; {MODE}'),
    ("hf_cache", one("hf_cache_mode", "0800"), f'hf_cache_mode: "0800" is not allowed; {MODE}'),
    (
        "hf_cache",
        one("hf_cache_mode", "0455"),
        'hf_cache_mode: "0455" locks the owner out; use "0755", or "2775" to share it with the group',
    ),
    *(
        ("hf_cache", one("hf_cache_source", value), f'hf_cache_source: "{value}" {said}')
        for value, said in (
            ("spark01 ", "is not allowed; use a host of the inventory, or an absolute path"),
            ("mnt/models", "is not allowed; use a host of the inventory, or an absolute path"),
            ("/mnt/", "is a folder of the system; use one of its own such as /mnt/models"),
            ("/opt/hf", "is in hf_cache_path; use a folder outside of it"),
            ("/opt/hf/models", "is in hf_cache_path; use a folder outside of it"),
        )
    ),
    *(
        (
            "hf_cache",
            one("hf_cache_source_address", value),
            f'hf_cache_source_address: "{value}" is not allowed;'
            " use an address or a name of the source such as 192.168.100.1",
        )
        for value in ("-oProxyCommand=x", "a b", "10.0.0.1/24", "$(x)")
    ),
    *(
        (
            "hf_cache",
            one("hf_cache_default_acl", [value]),
            f'hf_cache_default_acl: "{value}" is not allowed; use entries such as group:models:rwX',
        )
        for value in ("models:rwX", "group:models", "other::r-x", "group:models:7", "default:group:models:rwX")
    ),
    (
        "hf_cache",
        one("hf_cache_owner", "a b"),
        'hf_cache_owner: "a b" is not allowed; use a name such as root, or a number',
    ),
    (
        "hf_cache",
        one("hf_cache_group", "wheel:"),
        'hf_cache_group: "wheel:" is not allowed; use a name such as root, or a number',
    ),
    (
        "hf_cache",
        one("hf_cache_space_byte", 1),
        "hf_cache_space_byte: unknown variable; did you mean hf_cache_space_bytes?",
    ),
    (
        "hf_cache",
        one("hf_cache_space_bytes", "many"),
        'hf_cache_space_bytes: "many" is not allowed; use a whole number',
    ),
    (
        "hf_cache",
        one("hf_cache_space_repo", None),
        "hf_cache_space_repo: is null; give it a value",
    ),
    (
        "monitoring",
        one("monitoring_interval", 3),
        "monitoring_interval: 3 is not allowed; use 5 to 60 seconds",
    ),
    (
        "monitoring",
        one("monitoring_prometheus_port", 80),
        "monitoring_prometheus_port: 80 is not allowed; use a port from 1024 to 65535",
    ),
    (
        "monitoring",
        one("monitoring_address", "spark01.lan"),
        'monitoring_address: "spark01.lan" is not allowed; use an IPv4 address such as 192.168.1.41',
    ),
    (
        "monitoring",
        one("monitoring_prometheus_address", ""),
        'monitoring_prometheus_address: "" is not allowed; use an IPv4 address such as 127.0.0.1',
    ),
    (
        "monitoring",
        one("monitoring_retention", "30 days"),
        'monitoring_retention: "30 days" is not allowed; use a number with h, d, w or y, such as 30d',
    ),
    (
        "monitoring",
        one("monitoring_webhook", "hooks.example.com"),
        "monitoring_webhook: is no address; use one such as https://chat.example.com/hooks/alerts",
    ),
    (
        "monitoring",
        one("monitoring_alertmanagers", ["http://192.168.1.5:9093"]),
        'monitoring_alertmanagers: "http://192.168.1.5:9093" is not allowed; use host:port, such as 192.168.1.5:9093',
    ),
    ("benchmark", one("benchmark_ttft_ms", -1), "benchmark_ttft_ms: -1 is not allowed; use at least 0 milliseconds"),
    ("benchmark", one("benchmark_tpot_ms", -1), "benchmark_tpot_ms: -1 is not allowed; use at least 0 milliseconds"),
    (
        "benchmark",
        one("benchmark_profiles", []),
        "benchmark_profiles: [] is not allowed; use names of profiles, such as throughput and latency",
    ),
    (
        "monitoring",
        one("monitoring_ttft_seconds", 3),
        "monitoring_ttft_seconds: 3 is not allowed; use a bound of vLLM's buckets: 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,"
        " 7.5, 10.0, 20.0, 40.0, 80.0, 160.0",
    ),
    (
        "gateway",
        one("gateway_keys", ["ada"]),
        'gateway_keys[0]: is not a mapping; use {name: ada, key: "{{ vault_gateway_ada }}"}',
    ),
    (
        "gateway",
        keys({"name": "a b", "key": KEY}),
        'gateway_keys[0].name: "a b" is not allowed; use up to 63 letters, digits and . _ -',
    ),
    (
        "gateway",
        keys({"name": "ada", "key": "short"}),
        "gateway_keys[0].key: its value is not allowed; use 16 to 256 characters of printable ASCII without blanks,"
        " such as those of `openssl rand -hex 24`",
    ),
    (
        "gateway",
        keys({"name": "ada", "key": KEY}, {"name": "bob", "key": KEY}),
        "gateway_keys[1].key: is that of ada, too; give each name a key of its own",
    ),
    (
        "gateway",
        keys({"name": "ada", "key": KEY}, {"name": "ada", "key": KEY[::-1]}),
        "gateway_keys[1].name: ada is there twice; give each key a name of its own",
    ),
    (
        "gateway",
        keys({"name": "ada", "key": KEY, "concurrency": 3}),
        "gateway_keys[0].concurrency: unknown; use name, key, requests_per_minute, concurrent, body_bytes",
    ),
    (
        "gateway",
        keys({"name": "ada", "key": KEY, "body_bytes": 8388608}),
        "gateway_keys[0].body_bytes: 8388608 is not allowed; use bytes from 4096 to 4194304",
    ),
    (
        "gateway",
        {**keys({"name": "ada", "key": KEY}), "gateway_address": "gateway.lan"},
        'gateway_address: "gateway.lan" is not allowed; use an IPv4 address such as 192.168.1.40',
    ),
    (
        "gateway",
        {**keys({"name": "ada", "key": KEY}), "gateway_virtual_address": "192.168.1.50"},
        'gateway_virtual_address: "192.168.1.50" is not allowed; use an IPv4 address with the length of its network,'
        " such as 192.168.1.50/24",
    ),
    (
        "gateway",
        {**keys({"name": "ada", "key": KEY}), "gateway_virtual_address": "192.168.1.255/24"},
        'gateway_virtual_address: "192.168.1.255/24" is not allowed; it is the first or the last address of'
        " 192.168.1.0/24; use a free one between them",
    ),
    (
        "gateway",
        {**keys({"name": "ada", "key": KEY}), "gateway_virtual_address": "192.168.1.50/32"},
        'gateway_virtual_address: "192.168.1.50/32" is not allowed; use one of a network of /8 to /29, such as'
        " 192.168.1.50/24, for two gateways and this address",
    ),
    (
        "gateway",
        {**keys({"name": "ada", "key": KEY}), "gateway_virtual_address": "127.0.0.5/8"},
        'gateway_virtual_address: "127.0.0.5/8" is not allowed; no client can reach it; use a free address of the'
        " gateways' network, such as 192.168.1.50/24",
    ),
    (
        "gateway",
        {
            **keys({"name": "ada", "key": KEY}),
            "gateway_virtual_address": "192.168.1.50/24",
            "gateway_address": "192.168.1.40",
        },
        'gateway_address: "192.168.1.40" is not gateway_virtual_address, so no one would answer there; use 0.0.0.0 or'
        " 192.168.1.50",
    ),
    (
        "gateway",
        {**keys({"name": "ada", "key": KEY}), "gateway_certificate": "gateway.pem"},
        'gateway_certificate: "gateway.pem" is not allowed; use the whole path of a PEM file on the gateway, such as'
        " /etc/ssl/private/gateway.pem",
    ),
    (
        "gateway",
        {**keys({"name": "ada", "key": KEY}), "gateway_timeout": 5},
        "gateway_timeout: 5 is not allowed; use seconds from 60 to 86400",
    ),
    (
        "gateway",
        {**keys({"name": "ada", "key": KEY}), "gateway_hold_seconds": 7200},
        "gateway_hold_seconds: 7200 is not allowed; use seconds from 0 to 3600",
    ),
    (
        "fabric",
        one("fabric_topology", "mesh"),
        'fabric_topology: "mesh" is not allowed; use pair, ring, switch',
    ),
    (
        "fabric",
        one("fabric_network", "192.168.100.1/22"),
        'fabric_network: "192.168.100.1/22" is not allowed; use a private IPv4 network from /8 to /27, such as'
        " 192.168.100.0/22",
    ),
    (
        "fabric",
        one("fabric_network", "8.8.8.0/24"),
        'fabric_network: "8.8.8.0/24" is not allowed; use a private IPv4 network from /8 to /27, such as'
        " 192.168.100.0/22",
    ),
    (
        "fabric",
        one("fabric_mtu", 65536),
        "fabric_mtu: 65536 is not allowed; use bytes from 1280 to 9216, or null to leave it",
    ),
    (
        "spark_host",
        one("spark_host_sysctl", {"swappiness": 10}),
        "spark_host_sysctl.swappiness: is not the name of a kernel value; use one such as vm.swappiness",
    ),
    (
        "spark_host",
        one("spark_host_sysctl", {"vm.swappiness": [1]}),
        "spark_host_sysctl.vm.swappiness: a list is not allowed; use a number or one line of text",
    ),
    (
        "spark_host",
        one("spark_host_sysctl", {"vm.swappiness": "1\n2"}),
        'spark_host_sysctl.vm.swappiness: "1\\n2" is not allowed; use a number or one line of text',
    ),
    (
        "spark_host",
        one("spark_host_earlyoom", "perhaps"),
        'spark_host_earlyoom: "perhaps" is not allowed; use true or false',
    ),
    (
        "spark_host",
        one("spark_host_earlyoom_args", '-m "2"'),
        'spark_host_earlyoom_args: "-m \\"2\\"" is not allowed; use one line without a double quote,'
        " such as -M 2097152 -s 100",
    ),
    (
        "spark_host",
        one("spark_host_allow_other_hw", True),
        "spark_host_allow_other_hw: unknown variable; did you mean spark_host_allow_other_hardware?",
    ),
    (
        "container_runtime",
        one("container_runtime_docker_source", "snap"),
        'container_runtime_docker_source: "snap" is not allowed; use distribution, docker',
    ),
    (
        "container_runtime",
        one("container_runtime_toolkit_version", "latest"),
        'container_runtime_toolkit_version: "latest" is not allowed; use a version of the package such as 1.19.0-1',
    ),
    (
        "container_runtime",
        one("container_runtime_toolkit_version", "1.19.0"),
        'container_runtime_toolkit_version: "1.19.0" is not allowed; use a version of the package such as 1.19.0-1',
    ),
    (
        "container_runtime",
        one("container_runtime_toolkit_repository", "nvidia.github.io"),
        'container_runtime_toolkit_repository: "nvidia.github.io" is not allowed; use an address such as'
        " https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH)",
    ),
    (
        "container_runtime",
        one("container_runtime_docker_key_url", "http://download.docker.com/linux/ubuntu/gpg"),
        'container_runtime_docker_key_url: "http://download.docker.com/linux/ubuntu/gpg" is not allowed; use https://',
    ),
    (
        "container_runtime",
        one("container_runtime_toolkit_key_fingerprint", "DDCAE044F796ECB0"),
        'container_runtime_toolkit_key_fingerprint: "DDCAE044F796ECB0" is not allowed; use 40 hexadecimal digits,'
        " or nothing to accept any key",
    ),
    (
        "container_runtime",
        one("container_runtime_daemon_options", "{}"),
        'container_runtime_daemon_options: "{}" is not allowed; use a mapping (key: value)',
    ),
    (
        "container_runtime",
        one("container_runtime_daemon_options", {"features": ["cdi"]}),
        "container_runtime_daemon_options.features: a list is not allowed; use a mapping, as in Docker's daemon.json",
    ),
    (
        "container_runtime",
        one("container_runtime_daemon_options", {"features": {"cdi": False}}),
        "container_runtime_daemon_options.features.cdi: false contradicts container_runtime_cdi: true;"
        " set container_runtime_cdi to false",
    ),
    (
        "container_runtime",
        one("container_runtime_daemon_options", {"default-runtime": "kata"}),
        'container_runtime_daemon_options.default-runtime: "kata" is not allowed; use runc, nvidia'
        " or one of your runtimes",
    ),
    # odd values
    *(
        ("hf_cache", one(name, value), f'{name}: "{value}" is not allowed; use a name such as root, or a number')
        for name in ("hf_cache_owner", "hf_cache_group")
        for value in ("a" * 33, "١", 10**10, -1)
    ),
    *(
        ("monitoring", one("monitoring_webhook", value), f"monitoring_webhook: is no address; {HOOK}")
        for value in ("http://h:99999", "https://u:p@", "https://h:/x", "https://a b")
    ),
    (
        "monitoring",
        one("monitoring_alertmanagers", ["192.168.1.5:0"]),
        'monitoring_alertmanagers: "192.168.1.5:0" is not allowed; use host:port, such as 192.168.1.5:9093',
    ),
    (
        "monitoring",
        one("monitoring_address", "0.0.0.0"),
        'monitoring_address: "0.0.0.0" is not allowed; use an IPv4 address such as 192.168.1.41',
    ),
    (
        "gateway",
        {**keys({"name": "ada", "key": KEY}), "gateway_server_address": "0.0.0.0"},
        'gateway_server_address: "0.0.0.0" is not allowed; use an IPv4 address such as 192.168.1.40',
    ),
    (
        "benchmark",
        one("benchmark_cool_celsius", 65535),
        "benchmark_cool_celsius: 65535 is not allowed; use at most 100 °C",
    ),
    (
        "benchmark",
        one("benchmark_repetitions", 10**6),
        "benchmark_repetitions: 1000000 is not allowed; use at most 1000 runs",
    ),
    (
        "benchmark",
        one("benchmark_timeout", 1e308),
        f'benchmark_timeout: {str(int(1e308))[:76]}..." is not allowed; use at most 604800 seconds',
    ),
    *(
        (
            "benchmark",
            one("benchmark_profiles", ["latency", value]),
            f"benchmark_profiles[1]: {show(value)} is not allowed; use a text; write it in quotes",
        )
        for value in (None, 1, [], {"latency": None})
    ),
]
