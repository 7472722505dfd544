# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.filter.release_changes import FilterModule

KEY = "sk-notToBePrinted1234"
OLD = {
    "image": "vllm:1",
    "ports": ["127.0.0.1:8000:8000"],
    "environment": {"HF_TOKEN": "${HF_TOKEN}", "VLLM_LOGGING_LEVEL": "INFO", "VLLM_MAX_TOKENS": "5"},
    "ipc": "host",
    "command": ["vllm", "serve", "org/a", "--max-model-len", "32768", "--seed", "-1", "--enable-prefix-caching"],
    "volumes": ["/opt/hf:/cache:ro"],
    "labels": {"dgxspark.vllm.release": "1" * 12, "dgxspark.vllm.profile": "throughput"},
}


def release(env: str = "", **changed: t.Any) -> dict[str, str]:
    return {"compose": yaml.safe_dump({"name": "x", "services": {"vllm-x": {**OLD, **changed}}}), "env": env}


def changes(*releases: dict[str, str], servers: tuple[dict[str, t.Any], ...] = ()) -> dict[str, list[str]]:
    found: dict[str, list[str]] = FilterModule().filters()["release_changes"](*releases, servers)
    return found


def argv(*words: str) -> list[str]:
    return ["vllm", "serve", "org/a", *words]


def test_the_same_service_has_no_changes() -> None:
    other = {**OLD["labels"], "dgxspark.vllm.release": "2" * 12, "dgxspark.vllm.planned_bytes": "5"}
    assert changes(release(), release(labels=other)) == {"short": [], "long": [], "clients": []}


def test_options_one_by_one() -> None:
    new = argv("--enforce-eager", "--max-model-len", "16384", "--seed", "-1")
    found = changes(release(), release(command=new))
    assert found["short"] == [
        "command line: --max-model-len 32768 -> 16384, without --enable-prefix-caching, new --enforce-eager"
    ]
    assert found["long"] == [
        "command line:",
        "- --max-model-len 32768",
        "+ --max-model-len 16384",
        "- --enable-prefix-caching",
        "+ --enforce-eager",
    ]


def test_each_kind_has_one_line() -> None:
    labels = {"dgxspark.vllm.profile": "latency"}
    mounts = [*OLD["volumes"], {"source": "/opt/vllm/releases/222222222222/x", "target": "/x", "read_only": True}]
    found = changes(
        release(),
        release(
            image="vllm:2",
            ipc="private",
            labels=labels,
            volumes=mounts,
            environment={"A": "1", "HF_TOKEN": "${HF_TOKEN}"},
        ),
    )
    assert found["short"] == [
        "image: vllm:1 -> vllm:2",
        "environment: without VLLM_LOGGING_LEVEL, without VLLM_MAX_TOKENS, new A: 1",
        "mounts: new /x: /opt/vllm/releases/RELEASE/x (read-only)",
        "profile: throughput -> latency",
        'container settings: ipc "host" -> "private"',
    ]


def test_the_folder_of_a_release_is_no_change() -> None:
    old, new = (
        release(volumes=[{"source": f"/opt/vllm/releases/{name * 12}/key.py", "target": "/k", "read_only": True}])
        for name in "12"
    )
    assert changes(old, new)["short"] == []


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "MY_TOKEN", "DB_PASSWORD"])
def test_secrets_are_not_shown(name: str) -> None:
    uses_key = {**OLD["environment"], "VLLM_API_KEY": "${VLLM_API_KEY}"}
    proxy = {"https_proxy": f"http://user:{KEY}@proxy:3128", name: KEY}
    found = changes(
        release(f"VLLM_API_KEY='{KEY}0'\n", environment=uses_key),
        release(f"VLLM_API_KEY='{KEY}1'\n", environment={**uses_key, **proxy}),
    )
    assert KEY not in str(found)
    assert "- VLLM_API_KEY: ********" in found["long"]
    assert "+ https_proxy: http://********@proxy:3128" in found["long"]
    assert f"+ {name}: ********" in found["long"]
    assert found["clients"] == ["clients that send the API key of before are refused"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer {KEY}"),
        ("TRACES", f"authorization=Bearer {KEY}"),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("DB_PASS", KEY),
    ],
)
def test_other_names_and_values_of_secrets(name: str, value: str) -> None:
    assert KEY not in str(changes(release(), release(environment={**OLD["environment"], name: value})))


def test_secrets_in_json() -> None:
    option = json.dumps({"kv_connector": "x", "extra": {"password": KEY}})
    found = changes(release(), release(command=[*OLD["command"], "--kv-transfer-config", option]))
    assert KEY not in str(found)
    assert "kv_connector" in str(found)


def test_who_needs_a_key_now() -> None:
    with_key = release(f"VLLM_API_KEY='{KEY}'\n", environment={"VLLM_API_KEY": "${VLLM_API_KEY}"})
    without = release("VLLM_API_KEY=''\n")
    assert changes(without, with_key)["clients"] == ["clients that send no API key are refused"]
    assert changes(with_key, without)["clients"] == ["the API key is no longer asked for"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("0.0.0.0:8000", "127.0.0.1:8000", "clients of other machines lose access"),
        ("0.0.0.0:8000", "10.0.0.1:8000", "clients that do not use 10.0.0.1 lose access"),
        ("127.0.0.1:8000", "0.0.0.0:8000", "other machines can use the server, without an API key"),
        ("10.0.0.1:8000", "0.0.0.0:8000", "other machines can use the server, without an API key"),
        ("127.0.0.1:8000", "127.0.0.1:8001", "clients of port 8000 lose access; the new port is 8001"),
        ("127.0.0.1:8000", "127.0.0.1:8000", None),
    ],
)
def test_another_address(before: str, after: str, said: str | None) -> None:
    hosts = [address.rpartition(":")[0] for address in (before, after)]
    addresses = f": address {hosts[0]} -> {hosts[1]}" if hosts[0] != hosts[1] else ""
    wanted = [said + addresses] if said else []
    ports = [f"{address}:8000" for address in (before, after)]
    assert changes(release(ports=ports[:1]), release(ports=ports[1:]))["clients"] == wanted
    # the same of a server that is stopped for it
    assert changes({}, release(ports=ports[1:]), servers=({"listens": before},))["clients"] == wanted


def test_another_model() -> None:
    served = argv("--served-model-name", "a", "b")
    assert changes(release(), release(command=served))["clients"] == [
        "requests for the model org/a fail; the server has a, b instead"
    ]
    assert changes(release(command=served), release(command=argv("--served-model-name", "b", "a")))["clients"] == []


NAME_IS_GONE = "requests for the model my-model fail; the server has org/a instead"
KEY_IS_NEW = "clients that send no API key are refused"


@pytest.mark.parametrize(
    ("server", "open_lines", "key_lines"),
    [
        ({"served_names": ["my-model"], "asks_key": False}, [NAME_IS_GONE], [KEY_IS_NEW, NAME_IS_GONE]),
        (
            {"served_names": ["org/a"], "asks_key": True},
            ["the API key is no longer asked for"],
            ["clients that send another API key than vllm_api_key are refused"],
        ),
        ({"served_names": ["org/a"], "asks_key": True, "same_key": True}, ["the API key is no longer asked for"], []),
        ({"listens": None, "served_names": [], "asks_key": None}, [], []),  # nothing is known of it
    ],
)
def test_clients_of_a_server_that_is_stopped(
    server: dict[str, t.Any], open_lines: list[str], key_lines: list[str]
) -> None:
    with_key = release(f"VLLM_API_KEY='{KEY}'\n", environment={"VLLM_API_KEY": "${VLLM_API_KEY}"})
    assert changes({}, release(), servers=(server,))["clients"] == open_lines
    assert changes({}, with_key, servers=(server,))["clients"] == key_lines


@pytest.mark.parametrize("compose", ["", "services: {}", "[", "services: {a: 1}", "a: !!python/object:x {}"])
def test_what_cannot_be_compared(compose: str) -> None:
    assert changes({"compose": compose, "env": ""}, release())["clients"] == []
    assert changes({"compose": compose, "env": ""}, release())["short"] == []
    with pytest.raises(AnsibleFilterError, match=r"after\.compose must be the compose\.yaml of a release"):
        changes(release(), {"compose": compose})
