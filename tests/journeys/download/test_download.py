# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""hf_download against a real hub protocol, with the client of the image and with the one of image 25.09."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.hub import HubServer
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import GATEWAY, IMAGE, Spark
from support.waiting import wait_until

from .own_hub import CACHE, ENDPOINT, HERE, MODEL, USELESS, needed_bytes

pytestmark = pytest.mark.usefixtures("prepared")

KILLS = int(os.environ.get("KILLS", "4"))  # how often the download is killed in a row

PLAY = HERE / "download.yml"
FOLDER = f"{CACHE}/models--journey--model"


def variables(image: str = IMAGE, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "path": CACHE, "image": image, "endpoint": ENDPOINT, **more}


def partials(spark: Spark) -> list[str]:
    with spark.sudo():
        return spark.check_output("find %s -name '*.incomplete' 2>/dev/null || true", CACHE).split()


def containers(spark: Spark) -> list[str]:
    with spark.sudo():
        return spark.check_output("docker ps --all --quiet --filter label=dgxspark.vllm.download").split()


def assert_whole(spark: Spark, hub: HubServer) -> None:
    """All that vLLM needs, byte by byte, nothing else, nothing left over; and the hub's client finds no fault."""
    folder = hub.models / MODEL
    wanted = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and file.suffix != ".md" and file.relative_to(folder).as_posix() not in USELESS
    }
    with spark.sudo():
        sums = spark.check_output("cd %s/snapshots/* && find -L . -type f -exec sha256sum {} +", FOLDER)
        found = {name.removeprefix("./"): sum for sum, name in (line.split(None, 1) for line in sums.splitlines())}
        assert found == wanted
        look = "import sys, huggingface_hub as h; s = h.scan_cache_dir('/c'); print(len(s.repos), s.warnings)"
        scan = "docker run --rm --volume %s:/c:ro --entrypoint python3 %s -c %s"
        assert spark.check_output(scan, CACHE, IMAGE, look) == "1 []"
        assert spark.run("ls -A /run/dgxspark-download").stdout == ""
    assert partials(spark) == []
    assert containers(spark) == []


def test_check_mode_lists_the_files_and_writes_nothing(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str
) -> None:
    run = ansible_playbook(PLAY, spark.limit, "--check", "--diff", **variables())
    assert run.code == 0, run.output
    assert run.count(spark.name, "changed") == 1
    listed = re.findall(r"^\+([^+\s]\S*) \d+$", run.output, re.MULTILINE)
    assert {"config.json", "tokenizer.json", "model-00002-of-00002.safetensors"} <= set(listed)
    assert not set(listed) & {*USELESS, "README.md"}
    assert not spark.file(cache).exists
    assert hub.bytes == 0
    assert " | download" not in run.output


def test_the_first_run_downloads_and_the_second_asks_nobody(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str, image: str
) -> None:
    hub.set_rate(1_500_000)  # half a minute
    begin = time.monotonic()
    run = ansible_playbook(PLAY, spark.limit, **variables(image))
    seconds = time.monotonic() - begin
    assert run.code == 0, run.output
    assert run.count(spark.name, "changed") == 1
    told = re.findall(rf"^{spark.name} \| download  \| (.+)$", run.output, re.MULTILINE)
    assert any(re.fullmatch(r"\d+ % \| \d+ of \d+ MB \| \d+ [kM]B/s \| \d+ s left", line) for line in told), told
    assert re.fullmatch(r"done \| \d+ MB in \d+ s", told[-1]), told
    assert len(told) <= 3 + seconds / 10
    assert_whole(spark, hub)
    assert hub.bytes == needed_bytes(hub)

    hub.reset()
    for offline in (False, True):
        again = ansible_playbook(PLAY, spark.limit, **variables(image, offline=offline))
        assert again.code == 0, again.output
        assert again.count(spark.name, "changed") == 0
    assert hub.requests == 0


@contextlib.contextmanager
def started(
    spark: Spark, hub: HubServer, ansible_playbook: AnsiblePlaybook, image: str, rate: int
) -> Iterator[subprocess.Popen[str]]:
    """ansible-playbook in the middle of a download."""
    hub.set_rate(rate)
    run = ansible_playbook.start(PLAY, spark.limit, **variables(image))
    try:
        wait_until(lambda: run.poll() is not None or hub.bytes > 12_000_000, "the middle of the download")
        assert run.poll() is None, run.communicate()[0]
        yield run
    finally:
        run.kill()
        run.wait(10)


def test_two_at_once_are_one_download(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str
) -> None:
    runs: list[Run] = []
    hub.set_rate(4_000_000)
    threads = [
        threading.Thread(target=lambda: runs.append(ansible_playbook(PLAY, spark.limit, **variables())))
        for _run in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [run.code for run in runs] == [0, 0], [run.output for run in runs]
    assert sum("joins the download" in run.output for run in runs) == 1
    assert hub.bytes == needed_bytes(hub)
    assert_whole(spark, hub)


def test_a_download_goes_on_without_its_operator_and_is_joined(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str
) -> None:
    with started(spark, hub, ansible_playbook, IMAGE, rate=2_500_000) as run:
        run.send_signal(signal.SIGINT)
        run.wait(20)
    assert len(containers(spark)) == 1
    before = hub.bytes
    wait_until(lambda: hub.bytes > before, "the download goes on")
    hub.set_rate(0)
    again = ansible_playbook(PLAY, spark.limit, **variables())
    assert again.code == 0, again.output
    assert hub.bytes == needed_bytes(hub)
    assert_whole(spark, hub)


def test_a_killed_download_is_said_and_the_next_one_cleans_or_resumes(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str, image: str
) -> None:
    with started(spark, hub, ansible_playbook, image, rate=4_000_000) as run:
        with spark.sudo():
            wait_until(
                lambda: spark.run("find %s -name '*.incomplete' -size +9M | grep .", CACHE).rc == 0, "10 MB of a file"
            )
            spark.check_output("docker kill --signal KILL %s", containers(spark)[0])
        output, _nothing = run.communicate(timeout=60)
        assert run.returncode != 0
        assert "the download was killed. Remedy: look for" in " ".join(output.split())
        assert "Traceback" not in output
    assert partials(spark) != []
    hub.reset()
    again = ansible_playbook(PLAY, spark.limit, **variables(image))
    assert again.code == 0, again.output
    assert_whole(spark, hub)
    loaded = hub.bytes
    # the old client asks for the rest only; the new one begins every unfinished file anew
    assert (loaded <= needed_bytes(hub) - 9_000_000) == (image != IMAGE), loaded


@pytest.mark.in_turn(2)
def test_ten_kills_at_random_moments_and_the_model_is_whole(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str, image: str
) -> None:
    """kill -9 of the client, at any moment of a transfer that would take 6 seconds; each attempt goes on from there.

    An old client resumes, so it may be done before the tenth kill. Then it begins anew.
    """
    chance, ended = random.Random(image), threading.Event()
    left: list[int] = []  # partials after each kill
    seen: set[str] = set()

    def kill() -> None:
        while len(left) < KILLS and not ended.is_set():
            running = wait_until(lambda: ended.is_set() or set(containers(spark)) - seen, "the next attempt", 120)
            if ended.is_set():
                return
            hub.control(reset=True)  # the start of a container takes seconds, in which there is nothing to kill
            wait_until(
                lambda gone=running: ended.is_set() or hub.bytes or not gone <= set(containers(spark)),
                "bytes",
                120,
            )
            # not a wait for a condition: the moment of the kill is what is drawn
            time.sleep(chance.uniform(0, 5))
            with spark.sudo():
                killed = spark.run("docker kill --signal KILL %s", *running)
            seen.update(running)
            if killed.rc == 0:
                left.append(len(partials(spark)))
        hub.set_rate(0)

    while len(left) < KILLS:
        with spark.sudo():
            spark.check_output("rm -rf %s", CACHE)
        hub.set_rate(8_000_000)
        ended.clear()
        killer = threading.Thread(target=kill)
        killer.start()
        run = ansible_playbook(HERE / "killed.yml", spark.limit, **variables(image, kills=KILLS + 1))
        ended.set()
        killer.join(30)
        assert run.code == 0, run.output
        assert_whole(spark, hub)
    assert sum(map(bool, left)) >= KILLS // 2, left


def test_a_damaged_file_is_downloaded_again(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str, image: str
) -> None:
    assert ansible_playbook(PLAY, spark.limit, **variables(image)).code == 0
    with spark.sudo():
        spark.check_output("truncate --size=-1000 $(readlink -f %s/snapshots/*/model-00001-of-*)", FOLDER)
        spark.check_output("rm $(readlink -f %s/snapshots/*/tokenizer.json)", FOLDER)  # leaves a dangling link
    run = ansible_playbook(PLAY, spark.limit, **variables(image, offline=True))
    assert run.code != 0
    assert "missing: tokenizer.json, model-00001-of-00002.safetensors" in run.words
    run = ansible_playbook(PLAY, spark.limit, **variables(image))
    assert run.code == 0, run.output
    assert run.count(spark.name, "changed") == 1
    assert_whole(spark, hub)


@pytest.mark.in_turn(2)
@pytest.mark.parametrize(
    ("meaning", "remedy", "more", "rules"),
    [
        ("gated and no valid token was sent", "set vllm_hf_token", {"model": "sandbox/gated"}, []),
        ("has no access to it", "accept the license", {"model": "sandbox/gated", "token": "hf_sandboxnogrant"}, []),
        ("the hub refuses the token", "replace vllm_hf_token", {"token": "hf_sandboxrevoked"}, []),
        ("the hub has no such model", "correct the id of the model", {"model": "sandbox/missing"}, []),
        ("refuses more requests", "deploy again later", {}, [{"match": MODEL, "status": 429}]),
        ("refuses more requests", "deploy again later", {}, [{"match": "00002-of", "status": 429}]),
        ("an error of its own", "try again later", {}, [{"match": MODEL, "status": 503}]),
        ("refuses a file", "no proxy or firewall", {}, [{"match": "00002-of", "status": 403}]),
        ("cannot reach the hub", "check name resolution", {"endpoint": f"http://{GATEWAY}:9"}, []),
        ("offline mode is on", "vllm_hf_offline: false", {"offline": True}, []),
        ("nothing came for", "vllm_hf_endpoint", {"stall_timeout": 15}, [{"match": "00002-of", "hang": True}]),
    ],
)
def test_a_fault_is_one_line_with_a_remedy(
    spark: Spark,
    ansible_playbook: AnsiblePlaybook,
    hub: HubServer,
    cache: str,
    image: str,
    meaning: str,
    remedy: str,
    more: dict[str, Any],
    rules: list[dict[str, Any]],
) -> None:
    token = more.get("token")
    if token:
        with spark.sudo():
            spark.check_output("mkdir -p %s && umask 077 && echo HF_TOKEN=%s >%s/env", cache, token, cache)
        more = {"env_file": f"{cache}/env", **{name: more[name] for name in more if name != "token"}}
    hub.set_faults(rules)
    run = ansible_playbook(PLAY, spark.limit, **variables(image, **more))
    assert run.code != 0
    line = next(line for line in run.output.splitlines() if line.startswith("[ERROR]: Task failed"))
    assert meaning in line, run.output
    assert remedy in line
    assert re.search(r"More: docs/(troubleshooting|reference/download)\.md#\w+\.$", line)
    assert "Traceback" not in run.output
    assert containers(spark) == []
    if not rules:
        assert not spark.file(FOLDER).exists or hub.bytes < 100_000


def test_no_space_is_said_before_the_first_byte(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str
) -> None:
    with spark.sudo():
        spark.check_output("mkdir %s && mount -t tmpfs -o size=140m tmpfs %s", cache, cache)
    run = ansible_playbook(PLAY, spark.limit, **variables())
    assert run.code != 0
    assert re.search(rf"0\.1 GB are needed in {cache} and 0\.1 GB have to stay free there, 0\.1 GB are free", run.words)
    assert not spark.file(FOLDER).exists


def test_the_token_is_in_no_argument_and_no_configuration(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str
) -> None:
    token = "hf_sandboxgranted"
    with spark.sudo():
        spark.check_output("mkdir -p %s && umask 077 && echo HF_TOKEN=%s >%s/env", cache, token, cache)
    hub.set_rate(2_500_000)
    runs: list[Run] = []
    download = threading.Thread(
        target=lambda: runs.append(ansible_playbook(PLAY, spark.limit, "-vvv", **variables(env_file=f"{cache}/env")))
    )
    download.start()
    wait_until(lambda: hub.bytes > 10_000_000, "the middle of the download")
    hub.set_rate(100_000)  # it stays there, however long the looks take
    with spark.sudo():
        inspected = spark.check_output("docker inspect %s", containers(spark)[0])
        arguments = spark.check_output("ps -e -o args")
        files = spark.run("grep -rl %s /run/dgxspark-download", token[:10]).stdout
        logged = spark.check_output("docker logs %s 2>&1", containers(spark)[0])
    hub.set_rate(0)
    download.join(60)
    assert runs[0].code == 0, runs[0].output
    for text in (inspected, arguments, logged, runs[0].output):
        assert token not in text
    assert files == ""
