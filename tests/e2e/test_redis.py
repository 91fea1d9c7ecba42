"""Redis' own programs on what its chart renders: settings, crashes, and the shipped scripts with a bucket.

No cluster is needed; a bucket is rclone's own (`rclone serve s3`).
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stacks.project import Project
from tests.redis_release import redis_objects
from tests.support import Evaluate, Render, Stack, free_port, on_the_path

pytestmark = pytest.mark.e2e

PASSWORD = "drawn-by-nobody"  # noqa: S105 (a test's own)
BUCKET = {"bucket": "saved", "endpoint": "http://s3.example.com"}
KEYS = ("an-id-of-a-key", "the-key-itself")


class Server:
    """The pod's containers as processes: their scripts, with its paths and its port mapped to the test's own."""

    def __init__(self, folder: Path, objects: dict[str, dict[str, Any]], bucket_port: int) -> None:
        self.port = free_port()
        self.data = folder / "data"
        self._folder = folder
        self._objects = objects
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("data", "tmp", "conf", "snapshots", "bin"):
            (folder / name).mkdir()
        content = objects["ConfigMap/redis-config"]["data"]["redis.conf"]
        (folder / "conf" / "redis.conf").write_text(content.replace("6379", str(self.port)), encoding="utf-8")
        # The Service's name is not known here, and every command line is kept.
        client = folder / "bin" / "redis-cli"
        client.write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/called\n[ "$1" = -h ] && shift 2\n'
            f'exec {on_the_path("redis-cli")} -p {self.port} "$@"\n',
            encoding="utf-8",
        )
        client.chmod(0o755)
        self._endpoint = f"http://127.0.0.1:{bucket_port}"

    def start(self) -> None:
        pod = self._objects["StatefulSet/redis"]["spec"]["template"]["spec"]
        (first,) = pod["initContainers"]
        (server,) = [container for container in pod["containers"] if container["name"] == "redis"]
        (self._folder / "tmp" / "redis.conf").unlink(missing_ok=True)
        assert self._run(first["command"][2]).returncode == 0
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", self._here(server["command"][2])],
                cwd=self.data,
                env=self._environment(),
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 20
        while self.ask("ping") != "PONG":
            assert self._process.poll() is None, (self._folder / "log").read_text(encoding="utf-8")[-2000:]
            assert time.monotonic() < end
            time.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait()
            self._process = None

    def ask(self, *words: str) -> str:
        done = subprocess.run(  # noqa: S603
            [str(self._folder / "bin" / "redis-cli"), *words],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    def fill(self, mebibytes: int) -> None:
        """Write values of 10 kB, under names of their own, until that much was sent."""
        done = subprocess.run(  # noqa: S603
            [on_the_path("redis-cli"), "-p", str(self.port), "--pipe"],
            input="".join(f"SET filling:{number} {'x' * 10000}\n" for number in range(mebibytes * 100)),
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "replies" in done.stdout, done.stderr

    def job(self, cronjob: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the containers of a CronJob, one after the other, up to the first that fails."""
        for path in (self._folder / "snapshots").iterdir():
            path.unlink()
        pod = self._objects[f"CronJob/{cronjob}"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        secret = {"ACCESS_KEY_ID": KEYS[0], "ACCESS_SECRET_KEY": KEYS[1], "redis-password": PASSWORD}
        for container in (*pod["initContainers"], *pod["containers"]):
            given = {
                item["name"]: secret[item["valueFrom"]["secretKeyRef"]["key"]] if "valueFrom" in item else item["value"]
                for item in container["env"]
            }
            if "RCLONE_S3_ENDPOINT" in given:
                given |= {"RCLONE_S3_ENDPOINT": self._endpoint}
            done = self._run(container["args"][0], **{**given, **variables})
            if done.returncode != 0:
                break
        return done

    def _run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", self._here(script)],
            cwd=self.data,
            env={**self._environment(), **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def _here(self, script: str) -> str:
        paths = {"/usr/local/etc/redis": "conf", "/tmp": "tmp", "/snapshots": "snapshots", "/data": "data"}  # noqa: S108
        known = re.compile(rf"(?<![\w.])({'|'.join(paths)})(?=[/\"' ]|$)", re.MULTILINE)
        return known.sub(lambda found: str(self._folder / paths[found[1]]), script)

    def _environment(self) -> dict[str, str]:
        path = f"{self._folder / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "REDIS_PASSWORD": PASSWORD, "REDISCLI_AUTH": PASSWORD, "HOME": str(self._folder)}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A store that speaks S3, with one bucket: the folder that it is kept in, and its port."""
    folder, port = tmp_path_factory.mktemp("store"), free_port()
    (folder / "saved").mkdir()
    command = [on_the_path("rclone"), "--config=", "serve", "s3", f"--auth-key={','.join(KEYS)}"]
    process = subprocess.Popen([*command, f"--addr=127.0.0.1:{port}", str(folder)], stderr=subprocess.DEVNULL)  # noqa: S603
    yield folder / "saved" / "staging" / "redis", port
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def objects(
    project: Project, stacks: dict[str, Stack], evaluate: Evaluate, render: Render
) -> dict[str, dict[str, dict[str, Any]]]:
    """What one server of 64Mi is made of, for each way to evict."""
    on_the_path("redis-server")
    return {
        eviction: redis_objects(project, stacks, evaluate, render, {"memory": "64Mi", "eviction": eviction}, BUCKET)
        for eviction in ("noeviction", "allkeys-lru")
    }


@pytest.fixture
def server(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    bucket: tuple[Path, int],
    objects: dict[str, dict[str, dict[str, Any]]],
) -> Iterator[Server]:
    """One server that refuses writes when it is full, or as the test says."""
    server = Server(tmp_path, objects[getattr(request, "param", "noeviction")], bucket[1])
    server.start()
    yield server
    server.stop(kill=True)


def test_the_server_takes_every_setting(server: Server) -> None:
    found = {key: server.ask("config", "get", key).split("\n", 1)[1:] for key in ("save", "appendonly", "maxmemory")}
    assert found == {"save": [], "appendonly": ["yes"], "maxmemory": [str(12 * 1024 * 1024)]}
    buffers = server.ask("config", "get", "client-output-buffer-limit")
    assert f"slave {6 * 1024 * 1024} {6 * 1024 * 1024} 60" in buffers
    assert server.ask("config", "get", "repl-backlog-size").endswith(str(3 * 1024 * 1024))


def test_what_was_written_is_there_after_a_kill(server: Server) -> None:
    for number in range(200):
        server.ask("set", f"key:{number}", "kept")
    # Once a second all is written to disk.
    time.sleep(1.1)
    server.stop(kill=True)
    server.start()
    assert server.ask("dbsize") == "200"
    assert server.ask("get", "key:199") == "kept"


def test_a_full_server_refuses_writes_and_still_answers(server: Server) -> None:
    server.fill(16)
    refused = (server.ask("set", f"more:{number}", "x" * 10000).startswith("OOM command") for number in range(300))
    assert any(refused)
    assert server.ask("strlen", "filling:0") == "10000"
    assert server.ask("del", *(f"filling:{number}" for number in range(100))) == "100"
    assert server.ask("set", "one", "more") == "OK"


@pytest.mark.parametrize("server", ["allkeys-lru"], indirect=True)
def test_a_cache_that_is_full_drops_keys_and_takes_writes(server: Server) -> None:
    server.fill(16)
    assert server.ask("set", "one", "more") == "OK"
    assert int(re.search(r"evicted_keys:(\d+)", server.ask("info", "stats"))[1]) > 300  # type: ignore[index]


def test_a_snapshot_comes_back_and_what_was_there_is_aside(server: Server, bucket: tuple[Path, int]) -> None:
    server.ask("set", "key", "before")
    server.ask("set", "fleeting", "soon gone", "ex", "10000")
    saved = server.job("redis-snapshots")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    (snapshot,) = bucket[0].iterdir()
    assert re.fullmatch(r"redis-\d{8}T\d{6}Z\.rdb", snapshot.name)
    assert PASSWORD not in (server.data.parent / "called").read_text(encoding="utf-8")

    server.ask("set", "key", "after")
    server.ask("set", "new", "after")
    server.stop()
    restored = server.job("redis-restore", FROM=snapshot.name)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    server.start()
    assert (server.ask("get", "key"), server.ask("exists", "new")) == ("before", "0")
    assert 9000 < int(server.ask("ttl", "fleeting")) <= 10000
    server.ask("set", "written", "since")
    server.stop(kill=True)
    server.start()
    assert server.ask("mget", "key", "written").split() == ["before", "since"]

    server.stop()
    (aside,) = server.data.glob("appendonlydir.before-*")
    (server.data / "appendonlydir").rename(server.data / "restored")
    aside.rename(server.data / "appendonlydir")
    server.start()
    assert server.ask("mget", "key", "new").split() == ["after", "after"]
    snapshot.unlink()


def test_a_snapshot_that_is_broken_is_refused_and_nothing_is_touched(server: Server, bucket: tuple[Path, int]) -> None:
    server.ask("set", "key", "kept")
    assert server.job("redis-snapshots").returncode == 0
    (snapshot,) = bucket[0].iterdir()
    content = bytearray(snapshot.read_bytes())
    content[-12] ^= 0xFF
    snapshot.write_bytes(content)
    server.stop()
    before = {path: path.read_bytes() for path in server.data.rglob("*") if path.is_file()}
    refused = server.job("redis-restore")
    assert refused.returncode != 0
    assert {path: path.read_bytes() for path in server.data.rglob("*") if path.is_file()} == before
    server.start()
    assert server.ask("get", "key") == "kept"
    snapshot.unlink()


def test_a_server_that_gives_no_copy_leaves_no_snapshot(server: Server, bucket: tuple[Path, int]) -> None:
    server.stop()
    assert server.job("redis-snapshots").returncode != 0
    assert not list(bucket[0].iterdir())
