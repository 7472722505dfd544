# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host gets that serves a model together with others."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.nodes import INTERFACES, Node, Nodes, heads_problem
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import Resolved, ResolveError, resolve

from support.services import CATALOG, resolved, spark, values

MEMBERS = (Node("spark01", "192.168.100.1"), Node("spark02", "192.168.100.2"))
TOGETHER = {"vllm_nodes": ["spark01", "spark02"], "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"}
# what comes after all that a host alone has
ALL = "--nnodes 2 --node-rank {} --master-addr 192.168.100.1 --master-port 29501 --distributed-executor-backend mp"


def host(rank: int, **more: t.Any) -> dict[str, t.Any]:
    found = [
        {"name": "lo", "addresses": ["127.0.0.1"]},
        {"name": "enp1s0f0np0", "addresses": ["10.0.0.1", f"192.168.100.{rank + 1}"]},
    ]
    return spark(interfaces=found, **more)


def rank(number: int, read: t.Mapping[str, t.Any] | None = None, **variables: t.Any) -> Resolved:
    typed = values(**{**TOGETHER, **variables})
    return resolve(typed, CATALOG, host(number) if read is None else read, members=Nodes(MEMBERS, number))


def test_the_ranks_have_the_options_of_one_host_and_their_own_behind_them() -> None:
    alone = resolved(spark(), vllm_image=TOGETHER["vllm_image"]).argv
    head, worker = rank(0).argv, rank(1).argv
    assert head == [
        *alone,
        "--tensor-parallel-size",
        "2",
        *ALL.format(0).split(),
        *["--host", "127.0.0.1", "--port", "8000"],
    ]
    assert worker == [*alone, "--tensor-parallel-size", "2", *ALL.format(1).split(), "--headless"]


def test_the_owner_says_how_the_model_is_divided() -> None:
    argv = rank(1, vllm_extra_args={"pipeline_parallel_size": 2}).argv
    assert "--pipeline-parallel-size" in argv
    assert "--tensor-parallel-size" not in argv


def test_the_traffic_between_them_has_its_address_and_interface() -> None:
    own = rank(1).environment
    assert own["VLLM_HOST_IP"] == "192.168.100.2"
    assert {own[name] for name in INTERFACES} == {"enp1s0f0np0"}
    assert "NCCL_IB_GID_INDEX" not in own
    assert rank(1, vllm_extra_env={"NCCL_SOCKET_IFNAME": "eth9"}).environment["NCCL_SOCKET_IFNAME"] == "eth9"
    not_read = rank(1, {}).environment
    assert (not_read["VLLM_HOST_IP"], set(INTERFACES) & set(not_read)) == ("192.168.100.2", set())


def test_an_address_that_the_host_does_not_have_is_refused() -> None:
    with pytest.raises(ResolveError) as refused:
        rank(0, host(1))
    assert str(refused.value) == (
        "vllm_node_address: 192.168.100.1 is on no interface of spark01; set it to one of its addresses, which are"
        " 127.0.0.1 (lo), 10.0.0.1 (enp1s0f0np0), 192.168.100.2 (enp1s0f0np0)"
    )


def test_the_container_gets_what_rdma_needs_where_it_is() -> None:
    assert rank(0, host(0, infiniband=["rdma_cm", "uverbs0"], is_spark=True)).devices == ["/dev/infiniband"]
    without = rank(0, host(0, infiniband=[], is_spark=True))
    assert without.devices == []
    assert [fault["what"].partition(",")[0] for fault in without.host_faults] == [
        "no device for RDMA in /dev/infiniband"
    ]
    assert rank(0).host_faults == []  # no Spark
    assert resolved(host(0, infiniband=["uverbs0"])).devices == []


def test_each_plans_its_part_of_the_model() -> None:
    alone, part = resolved(spark(), vllm_image=TOGETHER["vllm_image"]).plan, rank(1).plan
    assert part["hosts"] == 2
    assert part["weights_bytes"] == -(-alone["weights_bytes"] // 2)
    assert part["kv_bytes_per_token"] * 2 == alone["kv_bytes_per_token"]


def test_a_bad_kernel_for_several_hosts_is_one_only_for_them() -> None:
    bad = {"os": {"kernel": "7.0.0-1019-nvidia"}}
    assert [fault["what"] for fault in rank(0, host(0, **bad)).host_faults]
    assert resolved(spark(**bad)).host_faults == []


def test_programs_on_the_host_know_the_ranks_and_those_of_one_host_nothing() -> None:
    known = {"nodes": ["192.168.100.1", "192.168.100.2"], "rank": 1, "master_port": 29501}
    assert {name: rank(1).facts[name] for name in known} == known
    alone = resolved(spark())
    assert set(known).isdisjoint(alone.facts)
    assert (alone.nodes, alone.rank) == ([], 0)
    assert rank(1).nodes == [node._asdict() for node in MEMBERS]


@pytest.mark.parametrize(
    ("image", "nccl", "more", "line"),
    [
        ("vllm/vllm-openai:v0.28.0", "2.29.7", {}, None),
        ("vllm/vllm-openai:v0.28.0", None, {}, None),
        ("vllm/vllm-openai:v0.28.0", "2.29.2", {}, "vllm_image: "),
        ("vllm/vllm-openai:v0.28.0", "2.29.2", {"vllm_image_allow": ["avoid"]}, None),
        ("nvcr.io/nvidia/vllm:26.07-py3", "2.28.9", {}, None),  # not made with the compiler of the fault
        ("nvcr.io/nvidia/vllm:26.07-py3", "2.30.4", {}, "vllm_extra_env.NCCL_NVLS_ENABLE: is not 0"),
        ("nvcr.io/nvidia/vllm:26.07-py3", "2.30.4", {"vllm_extra_env": {"NCCL_NVLS_ENABLE": "0"}}, None),
    ],
)
def test_the_nccl_that_the_image_says_it_has(
    image: str, nccl: str | None, more: dict[str, t.Any], line: str | None
) -> None:
    said = {"image": {"name": image, "entrypoint": ["vllm", "serve"] if "openai" in image else ["x"]}}
    typed = values(**{**TOGETHER, "vllm_image": image, **more})
    answer = {**said, "probe": {"nccl": nccl}}
    found = resolve(typed, CATALOG, host(0), image_probe=answer, members=Nodes(MEMBERS, 0)).probe_problems
    assert [each[: len(line or "")] for each in found] == ([line] if line else [])
    assert resolved(spark(), image_probe=answer, vllm_image=image).probe_problems == []


@pytest.mark.parametrize(
    ("heads", "args", "what"),
    [
        ({"attention_heads": 64, "kv_heads": 4}, {}, "64 heads"),  # MiMo, Qwen3.5-397B
        ({"attention_heads": 64, "kv_heads": 1, "latent_dim": 576}, {}, "64 heads"),
        ({"attention_heads": 24, "kv_heads": 4}, {}, "4 KV heads"),
        ({"attention_heads": 48, "kv_heads": 1, "latent_dim": 576}, {}, ""),
        ({"attention_heads": 24, "kv_heads": 6}, {}, ""),
        ({"attention_heads": 64, "kv_heads": 4}, {"pipeline_parallel_size": 3, "tensor_parallel_size": 1}, ""),
    ],
)
def test_heads_that_three_hosts_cannot_divide(heads: dict[str, int], args: dict[str, int], what: str) -> None:
    """Of a model that nobody has described it is known when its files were read, before anything is changed."""
    members = Nodes((*MEMBERS, Node("spark03", "192.168.100.3")), 0)
    three = {**TOGETHER, "vllm_nodes": ["spark01", "spark02", "spark03"], "vllm_model": "a/b", "vllm_extra_args": args}
    info = {"id": "a/b", "weights_bytes": 10**9, "layers": 48, "head_dim": 128, "native_context": 65536, **heads}

    def found() -> Resolved:
        return resolve(values(**three), CATALOG, host(0), model_info=info, members=members)

    if what:
        with pytest.raises(
            ResolveError, match=f"3 hosts cannot divide the {what} of b; .* pipeline_parallel_size: 3 in"
        ):
            found()
    else:
        assert found().plan["problem"] is None


def test_the_remedy_for_heads_is_for_all_hosts() -> None:
    model = {"name": "b", "attention_heads": 64, "kv_heads": 8}
    said = heads_problem(model, {"tensor_parallel_size": 3, "pipeline_parallel_size": 2})
    assert said.endswith("or pipeline_parallel_size: 6 in vllm_extra_args without tensor_parallel_size")


def test_a_stage_of_a_pipeline_has_some_layers_with_all_heads() -> None:
    """By hand: 48 layers in three stages, 4 heads of 128 numbers in BF16, keys and values."""
    three = {"vllm_nodes": ["spark01", "spark02", "spark03"], "vllm_model": "a/b"}
    info = {"id": "a/b", "weights_bytes": 3 * 10**9, "layers": 48, "kv_heads": 4, "head_dim": 128}
    args = {
        "pipeline_parallel_size": 3,
        "tensor_parallel_size": 1,
        "kv_cache_memory_bytes": 16 * 16 * 2 * 4 * 128 * 2 * 101,
    }
    typed = values(**{**TOGETHER, **three, "vllm_extra_args": args, "vllm_max_model_len": 1024})
    members = Nodes((*MEMBERS, Node("spark03", "192.168.100.3")), 0)
    plan = resolve(typed, CATALOG, host(0), model_info={**info, "native_context": 4096}, members=members).plan
    assert plan["kv_bytes_per_token"] == 16 * 2 * 4 * 128 * 2
    assert plan["weights_bytes"] == 10**9
    assert plan["kv_tokens"] == 101 * 16


def test_the_last_stage_has_all_that_drafts() -> None:
    mtp: dict[str, t.Any] = {"speculative_config": {"method": "mtp", "num_speculative_tokens": 1}}
    info = {"id": "a/b", "weights_bytes": 10**9, "layers": 48, "kv_heads": 4, "head_dim": 128, "mtp_layers": 3}

    def bytes_of_a_token(**args: t.Any) -> int:
        typed = values(**{**TOGETHER, "vllm_model": "a/b", "vllm_extra_args": args, "vllm_max_model_len": 1024})
        found = resolve(typed, CATALOG, host(0), model_info={**info, "native_context": 4096}, members=Nodes(MEMBERS))
        return int(found.plan["kv_bytes_per_token"])

    assert bytes_of_a_token(pipeline_parallel_size=2, tensor_parallel_size=1, **mtp) == (24 + 3) * 2 * 4 * 128 * 2
    assert bytes_of_a_token(**mtp) == (48 + 3) * 2 * 2 * 128 * 2


def test_the_last_stage_has_the_keys_of_all_that_drafts() -> None:
    """By hand: of 61 layers vLLM gives the last stage 30, and the one that drafts, as many as the first one has: each
    with a vector of 576 numbers in BF16 and a key."""
    info = {"id": "a/b", "weights_bytes": 10**9, "layers": 61, "kv_heads": 1, "head_dim": 576, "latent_dim": 576}
    info |= {"index_dim": 128, "mtp_layers": 1, "native_context": 4096}
    args: dict[str, t.Any] = {"speculative_config": {"method": "mtp", "num_speculative_tokens": 1}}
    args |= {"pipeline_parallel_size": 2, "tensor_parallel_size": 1}
    typed = values(**{**TOGETHER, "vllm_model": "a/b", "vllm_extra_args": args, "vllm_max_model_len": 1024})
    plan = resolve(typed, CATALOG, host(0), model_info=info, members=Nodes(MEMBERS)).plan
    assert plan["kv_bytes_per_token"] == 31 * (576 * 2 + 128 + 4)


def test_a_stage_of_compressed_layers_has_twice_the_tokens() -> None:
    """DeepSeek V4, whose vectors tensor parallelism does not divide."""
    info = {"id": "a/b", "weights_bytes": 10**9, "layers": 44, "kv_heads": 1, "head_dim": 512, "index_dim": 128}
    info |= {"sliding_window": 128, "compressed": {4: 22, 128: 20}, "native_context": 65536}

    def tokens(**args: t.Any) -> int:
        args["kv_cache_memory_bytes"] = 8 * 2**30
        typed = values(**{**TOGETHER, "vllm_model": "a/b", "vllm_extra_args": args, "vllm_max_model_len": 65536})
        found = resolve(typed, CATALOG, host(0), model_info=info, members=Nodes(MEMBERS))
        return int(found.plan["kv_tokens"])

    staged = tokens(pipeline_parallel_size=2, tensor_parallel_size=1)
    assert staged == pytest.approx(2 * tokens(), rel=0.02)
