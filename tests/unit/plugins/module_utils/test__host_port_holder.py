# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is, from what `docker inspect` says of it."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import services
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.port_holder import (
    description,
    holder_of,
    merged,
    noted,
    served_beside,
    with_unit,
)
from hypothesis import given
from hypothesis import strategies as st

Holder = dict[str, t.Any]
NGC = "nvcr.io/nvidia/vllm:25.09-py3"
PROJECT = {"com.docker.compose.project": "llm", "com.docker.compose.service": "vllm"}
SERVICE = {**PROJECT, "dgxspark.vllm.service": "vllm-b", "dgxspark.vllm.release": "0123456789ab"}


@pytest.fixture(autouse=True)
def _units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service vllm-b is on this host, with one release."""
    (tmp_path / "home" / "releases" / "0123456789ab").mkdir(parents=True)
    text = f"# Written by dgxspark.vllm.\n[Service]\nWorkingDirectory={tmp_path}/home/current\n"
    (tmp_path / "vllm-b.service").write_text(text)
    monkeypatch.setattr(services, "UNITS", str(tmp_path))


def inspected(**values: t.Any) -> str:
    entry = {
        "Id": "f" * 64,
        "Name": "/box",
        "Path": values.get("path", "/opt/nvidia/nvidia_entrypoint.sh"),
        "Args": values.get("args", ["sleep", "1"]),
        "State": {"Running": values.get("running", True)},
        "Mounts": values.get("mounts", [{"Type": "bind", "Source": f"{services.UNITS}/home/cache"}]),
        "Config": {"Image": values.get("image", "debian:12"), "Labels": values.get("labels"), "Env": values.get("env")},
        "HostConfig": {
            "RestartPolicy": {"Name": values.get("restart", ""), "MaximumRetryCount": 0},
            "AutoRemove": values.get("auto_remove", False),
            "PortBindings": values.get("ports"),
        },
    }
    return json.dumps([entry])


def holder(**values: t.Any) -> Holder:
    found = holder_of(inspected(**values))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("labels", "kind", "words"),
    [
        (None, "container", "the container box (started by hand)"),
        ({"a": "b"}, "container", "the container box (started by hand)"),
        (PROJECT, "compose", "the container box of the Compose project llm"),
        (SERVICE, "service", "the service vllm-b (container box)"),
    ],
)
def test_kinds(labels: dict[str, str] | None, kind: str, words: str) -> None:
    found = holder(labels=labels, restart="always")
    assert (found["kind"], description(found), found["restart"], found["running"]) == (kind, words, "always", True)


@pytest.mark.parametrize("label", ["", "../x", "--now", "a b", "a\nb", "a/b", "$(x)", "\x1b[31m", "a\n"])
def test_a_label_that_is_no_name_is_none(label: str) -> None:
    found = holder(labels={"dgxspark.vllm.service": label, "com.docker.compose.project": label})
    assert (found["kind"], found["service"], found["project"]) == ("container", None, None)


@pytest.mark.parametrize(
    ("values", "is_vllm"),
    [
        # what a script of somebody's does is not known
        ({"image": NGC, "args": ["/start"]}, False),
        ({"image": "vllm-node", "path": "/start.sh", "args": ["x"]}, False),
        ({"image": "vllm/vllm-openai:v0.11.0", "path": "vllm", "args": ["bench", "serve"]}, False),
        ({"image": "lmcache/vllm-router:1", "path": "vllm-router", "args": ["--port", "8000"]}, False),
        ({"image": "vllm-exporter", "path": "/exporter", "args": ["--vllm=http://vllm:8000"]}, False),
        ({"path": "/opt/nvidia/nvidia_entrypoint.sh", "args": ["vllm", "serve", "x"]}, True),
        ({"labels": SERVICE}, True),
        ({"args": ["vllm", "serve", "x"]}, True),
        ({"path": "/usr/local/bin/vllm", "args": ["serve"]}, True),
        ({"args": ["bash", "-c", "pip install x && vllm serve y"]}, True),
        ({"args": ["bash", "-c", "a;vllm serve y"]}, True),
        ({"path": "python3", "args": ["-m", "vllm.entrypoints.openai.api_server"]}, True),
        ({"path": "python3", "args": ["-m", "vllm.entrypoints.cli.main", "serve", "x"]}, True),
        ({"path": "python3", "args": ["/vllm/vllm/entrypoints/api_server.py"]}, True),
        ({"path": "python3", "args": ["-m", "vllm.entrypoints.openai.run_batch"]}, False),
        ({}, False),
        ({"image": "nginx", "args": ["nginx", "-c", "/etc/nginx/vllm.conf"]}, False),
        ({"image": "haproxy", "args": ["-f", "/etc/vllm/haproxy.cfg"]}, False),
        ({"image": "prom/prometheus", "args": ["--target=vllm:8000"]}, False),
        ({"image": "ollama/ollama", "args": ["serve"]}, False),
        # it sleeps, and `docker exec` started what serves
        ({"image": "vllm-node", "path": "sleep", "args": ["infinity"]}, False),
        ({"image": "vllm-node", "path": "tail", "args": ["-f", "/dev/null"]}, False),
        ({"image": "vllm-node", "path": "/bin/bash", "args": []}, False),
        ({"image": NGC, "path": "/opt/nvidia/nvidia_entrypoint.sh", "args": ["sleep", "infinity"]}, False),
        ({"image": NGC, "path": "/opt/nvidia/nvidia_entrypoint.sh", "args": ["bash"]}, False),
        ({"image": "vllm-node", "path": "bash", "args": ["-c", "while true; do sleep 60; done"]}, False),
        ({"image": "vllm-node", "path": "tini", "args": ["--", "sleep", "infinity"]}, False),
        ({"image": "vllm-node", "path": "bash", "args": ["-c", "sleep 5 && vllm serve x"]}, True),
        ({"labels": SERVICE, "path": "sleep", "args": ["infinity"]}, True),
    ],
)
def test_is_it_vllm(values: Holder, is_vllm: bool) -> None:
    assert holder(**values)["is_vllm"] is is_vllm


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[null]", "[5]", '["x"]', "[{}]", '[{"Id": ""}]', "{"])
def test_nobody(text: str) -> None:
    assert holder_of(text) is None


def test_an_entry_with_gaps() -> None:
    found = holder_of('[{"Id": "x", "Config": null, "HostConfig": null, "State": null, "Args": null}]')
    assert found is not None
    assert (found["kind"], found["running"], found["restart"], found["auto_remove"]) == (
        "container",
        False,
        "no",
        False,
    )


SHELL = "pip install x && vllm serve org/a \\\n --served-model-name 'a' b\nsleep 9"


@pytest.mark.parametrize(
    ("values", "names", "asks_key"),
    [
        ({"args": ["vllm", "serve", "org/a"]}, ["org/a"], False),
        ({"args": ["vllm", "serve", "org/a", "--served-model-name", "a", "b", "--seed", "1"]}, ["a", "b"], False),
        ({"args": ["vllm", "serve", "org/a", "--served_model_name=a", "--api-key=KEY"]}, ["a"], True),
        ({"path": "/usr/bin/vllm", "args": ["serve", "--api-key", "KEY", "--model", "org/a"]}, ["org/a"], True),
        ({"path": "vllm", "args": ["serve", "org/a"], "env": ["A=b", "VLLM_API_KEY=KEY"]}, ["org/a"], True),
        ({"path": "vllm", "args": ["serve", "org/a"], "env": ["VLLM_API_KEY="]}, ["org/a"], False),
        ({"path": "python3", "args": ["-m", "vllm.entrypoints.openai.api_server", "--model", "m"]}, ["m"], False),
        ({"path": "python3", "args": ["-m", "vllm.entrypoints.cli.main", "serve", "m"]}, ["m"], False),
        ({"args": ["bash", "-c", SHELL]}, ["a", "b"], False),
        ({"args": ["bash", "-c", "VLLM_API_KEY=KEY vllm serve m --seed 1 2>&1 | tee x"]}, ["m"], True),
        ({"args": ["bash", "-c", "exec vllm serve $MODEL"]}, [], False),
        ({"args": ["bash", "-c", "vllm serve 'm"]}, [], None),
        ({"args": ["vllm", "serve", "--config", "/x.yaml"]}, [], None),
        ({"args": ["nginx"]}, [], None),
    ],
)
def test_what_its_clients_have_to_know(values: Holder, names: list[str], asks_key: bool | None) -> None:
    found = holder(**values)
    assert (found["served_names"], found["asks_key"]) == (names, asks_key)
    assert "KEY" not in json.dumps(found)


@pytest.mark.parametrize(
    ("values", "is_same"),
    [
        ({"args": ["vllm", "serve", "m", "--api-key", "KEY"], "env": ["VLLM_API_KEY=OTHER"]}, True),
        ({"args": ["vllm", "serve", "m", "--api-key", "KEY", "OTHER"]}, False),
        ({"args": ["vllm", "serve", "m"], "env": ["A=b", "VLLM_API_KEY=KEY"]}, True),
        ({"args": ["bash", "-c", "VLLM_API_KEY='KEY' vllm serve m --seed 1"]}, True),
        ({"args": ["vllm", "serve", "m"], "env": ["VLLM_API_KEY=OTHER"]}, False),
        ({"args": ["vllm", "serve", "m"]}, False),
    ],
)
def test_whether_its_clients_send_the_same_key(values: Holder, is_same: bool) -> None:
    found = holder_of(inspected(**values), "KEY")
    assert found is not None
    assert found["same_key"] is is_same
    assert "KEY" not in json.dumps(found)
    assert "same_key" not in holder(**values)


def test_where_it_answers() -> None:
    assert holder(ports={"8000/tcp": [{"HostIp": "", "HostPort": "8001"}]})["published"] == "127.0.0.1:8001"
    assert holder(ports={"8000/tcp": [{"HostIp": "", "HostPort": "8001"}]})["listens"] == "0.0.0.0:8001"
    assert holder(ports=None)["listens"] is None
    assert holder(ports=None)["published"] is None  # as in the network of the host


@pytest.mark.parametrize(
    ("note", "release"), [({"beside": "0123456789ab"}, "0123456789ab"), ({"beside": ""}, None), ({"beside": 5}, None)]
)
def test_what_served_beside_them(note: dict[str, t.Any], release: str | None) -> None:
    assert (served_beside(note), served_beside({})) == (release, None)


@pytest.mark.parametrize("name", ["ssh", "vllm", "vllm-b\n", "../vllm-b", "vllm-b.service", "", 5, None])
def test_a_service_that_is_not_on_this_host(name: t.Any) -> None:
    labels = {**SERVICE, "dgxspark.vllm.service": name}
    assert (holder(labels=labels)["kind"], holder(labels=labels)["service"]) == ("compose", None)


@pytest.mark.parametrize("begin", ["", "# written by me\n", "\n# Written by dgxspark.vllm."])
def test_a_unit_that_somebody_else_wrote(tmp_path: Path, begin: str) -> None:
    unit = tmp_path / "vllm-b.service"
    unit.write_text(f"{begin}[Service]\nWorkingDirectory={tmp_path}/home/current\n")
    assert holder(labels=SERVICE)["service"] is None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_unit_that_is_no_file(tmp_path: Path, kind: str) -> None:
    unit = tmp_path / "vllm-b.service"
    unit.rename(tmp_path / "real")
    if kind == "link":
        unit.symlink_to(tmp_path / "real")
    elif kind == "pipe":
        os.mkfifo(unit)
    else:
        unit.mkdir()
    assert holder(labels=SERVICE)["service"] is None


def shown(load: str = "loaded", active: str = "active", file: str = "enabled") -> str:
    return f"LoadState={load}\nActiveState={active}\nUnitFileState={file}\n"


def test_what_systemd_says_of_a_service() -> None:
    service = holder(labels=SERVICE, running=False)
    found = with_unit(service, shown())
    assert (found["kind"], found["running"], found["enabled"]) == ("service", True, True)
    assert with_unit(service, shown(active="activating"))["running"]  # between two tries
    found = with_unit(service, shown(active="inactive", file="disabled"))
    assert (found["running"], found["enabled"]) == (False, False)
    assert with_unit(holder(labels=SERVICE), shown(active="inactive"))["running"]  # somebody runs it without its unit


@pytest.mark.parametrize("text", [shown(load="not-found"), "", "x"])
def test_a_service_without_a_unit(text: str) -> None:
    assert with_unit(holder(labels=SERVICE), text)["kind"] == "compose"
    labels = {name: value for name, value in SERVICE.items() if name.startswith("dgxspark.")}
    assert with_unit(holder(labels=labels), text)["kind"] == "container"


def test_what_was_noted_is_read() -> None:
    one = holder(labels=SERVICE)
    assert noted(json.loads(json.dumps({"holders": [one]}))) == [one]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["holders", "id", "name", "running"]), inner),
    )
)
def test_no_note_breaks_it(content: t.Any) -> None:
    assert noted({"holders": content}) == []
    assert noted({"holders": [{**holder(), "running": "yes"}, {**holder(), "id": None}, content]}) == []


def test_a_note_keeps_what_was_first() -> None:
    first = {**holder(restart="always"), "renamed": "box-before-1"}
    now = {**holder(restart="unless-stopped", running=False), "renamed": None}
    assert merged([first], [now]) == [first]
    assert merged([first], [{**now, "renamed": "box-before-2"}]) == [{**first, "renamed": "box-before-2"}]
    # the operator looks at it under its other name
    assert merged([first], [{**now, "name": "box-before-1"}]) == [first]
    other = {**now, "id": "e" * 64}
    assert merged([first], [other]) == [first, other]


def test_a_service_with_a_new_container_is_noted_once() -> None:
    first = holder(labels=SERVICE, restart="no")
    found = merged([first], [{**first, "id": "e" * 64, "running": False}])
    assert found == [{**first, "id": "e" * 64}]


@pytest.mark.parametrize("mounts", [None, [], [{"Type": "bind", "Source": "/srv/data"}], [{"Type": "volume"}]])
def test_an_image_that_brings_the_labels_along_is_no_service(mounts: t.Any) -> None:
    """It would be stopped as the service, and the service started again instead of it."""
    assert holder(labels=SERVICE)["kind"] == "service"
    assert holder(labels=SERVICE, mounts=mounts)["kind"] == "compose"
