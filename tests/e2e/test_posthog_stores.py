"""PostHog's stores at work: Redis' own program on the configuration, SeaweedFS on its command, where there is one.

No cluster is needed. Debian has Redis; `weed` 4.44 is what the image of SeaweedFS has.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from stacks.project import Project
from tests.posthog_stores import Objects, container, file, posthog_stack, stores
from tests.support import ROOT, Evaluate, free_port, need, on_the_path

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def made(larger: Project, evaluate: Evaluate) -> Objects:
    small = {"redis": {"memory": "96Mi"}, "valkey": {"memory": "64Mi"}}
    return stores(larger, posthog_stack(larger), evaluate, posthog=small)


def until(check: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until it is so."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.1)


class Redis:
    """A server with a store's configuration, at a port and in a folder of the test's own."""

    def __init__(self, configuration: str, folder: Path) -> None:
        self.port = free_port()
        text = re.sub(r"^dir .*$", f"dir {folder}", configuration, flags=re.MULTILINE)
        (folder / "valkey.conf").write_text(text.replace("6379", str(self.port)), encoding="utf-8")
        self._command = [on_the_path("redis-server"), str(folder / "valkey.conf")]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603
        until(lambda: self.ask("ping") == "PONG")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask(self, *words: str) -> str:
        command = [on_the_path("redis-cli"), "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603

    def write(self, prefix: str, mebibytes: int, *more: str) -> int:
        """Write values of 10 kB, and return how many were taken."""
        lines = "".join(f"SET {prefix}:{n} {'x' * 10000} {' '.join(more)}\n" for n in range(mebibytes * 100))
        command = [on_the_path("redis-cli"), "-p", str(self.port)]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.splitlines().count("OK")

    def count(self, prefix: str) -> int:
        return int(self.ask("eval", f"return #redis.call('keys', '{prefix}:*')", "0"))


@pytest.fixture
def redis(made: Objects, tmp_path: Path) -> Iterator[Callable[[str], Redis]]:
    servers = []

    def run(store: str) -> Redis:
        server = Redis(file(made, store, "valkey.conf"), tmp_path)
        servers.append(server)
        server.start()
        return server

    yield run
    for server in servers:
        server.kill()


def test_a_full_queue_drops_caches_first_and_refuses_rather_than_lose_a_task(redis: Callable[[str], Redis]) -> None:
    queue = redis("redis")
    assert queue.ask("config", "get", "maxmemory").endswith(str(32 * 1024**2))
    assert queue.write("task", 10) == 1000
    assert queue.write("cache", 40, "EX 3600") == 4000, "caches make room for caches"
    assert queue.count("task") == 1000
    assert 0 < queue.count("cache") < 4000
    taken = queue.write("more", 40)
    assert 0 < taken < 4000, "when only tasks are left there is no more room"
    assert queue.count("cache") == 0
    assert queue.count("task") == 1000
    assert queue.count("more") == taken
    assert queue.ask("ping") == "PONG"


def test_what_the_queue_holds_is_there_after_a_kill_and_what_has_an_end_still_has_it(
    redis: Callable[[str], Redis],
) -> None:
    queue = redis("redis")
    assert queue.write("task", 5) == 500
    assert queue.ask("set", "cache:1", "x", "EX", "3600") == "OK"
    # Once a second.
    time.sleep(1.5)
    queue.kill()
    queue.start()
    assert queue.count("task") == 500
    assert 3500 < int(queue.ask("ttl", "cache:1")) <= 3600


def test_a_full_cache_takes_everything_and_forgets_it_when_it_ends(
    redis: Callable[[str], Redis], tmp_path: Path
) -> None:
    cache = redis("valkey")
    assert cache.write("count", 60) == 6000
    assert 0 < cache.count("count") < 6000
    cache.kill()
    cache.start()
    assert cache.count("count") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["valkey.conf"]


def test_a_server_that_loads_is_not_yet_ready(made: Objects) -> None:
    """The probe's command fails where there is no server, and with an error of one."""
    command = container(made, "redis")["startup_probe"]["exec"]["command"]
    assert command == ["valkey-cli", "-e", "ping"]
    found = subprocess.run(  # noqa: S603
        [on_the_path("redis-cli"), "-p", str(free_port()), *command[1:]], capture_output=True, check=False
    )
    assert found.returncode != 0


# SeaweedFS.

KEYS = {
    "AWS_ACCESS_KEY_ID": "anIdOfAKeyOfTheTests",
    "AWS_SECRET_ACCESS_KEY": "theKeyItselfThatIsTheTestsOwnAndNoOthers",
}
_PORTS = ("master.port", "volume.port", "filer.port")


class SeaweedFS:
    """The pod's container as a process, and its hook, with ports and a folder of the test's own."""

    def __init__(self, objects: Objects, folder: Path) -> None:
        found = shutil.which("weed")
        need(found, "weed on the PATH")
        self.folder, self.port = folder, free_port()
        spec = container(objects, "objects")
        self._ports = {name: (free_port(), free_port()) for name in _PORTS}
        given = {"-dir=/data": f"-dir={folder / 'data'}", "-s3.port=8333": f"-s3.port={self.port}"}
        self._command = [str(found), *(given.get(word, word) for word in spec["command"][1:])]
        self._command += [f"-{name}={port}" for name, (port, _) in self._ports.items()]
        self._command += [f"-{name}.grpc={port}" for name, (_, port) in self._ports.items()]
        self._command.append(f"-s3.port.grpc={free_port()}")
        plain = {item["name"]: item["value"] for item in spec["env"] if "value" in item}
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **plain, **KEYS}
        (hook,) = spec["lifecycle"]["post_start"]
        self._hook = hook["exec"]["command"][-1].replace("localhost:9333", self.master)
        (folder / "data").mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def master(self) -> str:
        return "localhost:{}.{}".format(*self._ports["master.port"])

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)  # noqa: S603
        done = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", self._hook], env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def shell(self, *commands: str) -> str:
        command = [self._command[0], "-logtostderr=true", "shell", f"-master={self.master}"]
        text = "\n".join(commands)
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60).stdout  # noqa: S603

    def used(self) -> int:
        """Return how much of the disk is used, in MiB."""
        return sum(path.stat().st_size for path in (self.folder / "data").rglob("*") if path.is_file()) // 1024**2

    def rclone(self, *words: str, keys: Mapping[str, str] = KEYS) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "RCLONE_S3_PROVIDER": "Other",
            "RCLONE_S3_ENDPOINT": f"http://localhost:{self.port}",
            "RCLONE_S3_REGION": "us-east-1",
            "RCLONE_S3_ACCESS_KEY_ID": keys.get("AWS_ACCESS_KEY_ID", ""),
            "RCLONE_S3_SECRET_ACCESS_KEY": keys.get("AWS_SECRET_ACCESS_KEY", ""),
        }
        command = [on_the_path("rclone"), "--config=", "--retries=1", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603


@pytest.fixture(scope="module")
def seaweedfs(made: Objects, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    server = SeaweedFS(made, tmp_path_factory.mktemp("objects"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "recording"
    path.write_bytes(os.urandom(2 * 1024**2))
    return path


def names(server: SeaweedFS, place: str) -> list[str]:
    return server.rclone("lsf", f":s3:{place}").stdout.split()


def test_the_bucket_is_made_and_opens_to_the_one_key_alone(seaweedfs: SeaweedFS, recording: Path) -> None:
    assert names(seaweedfs, "") == ["posthog/"]
    assert seaweedfs.rclone("copyto", str(recording), ":s3:posthog/exports/one").returncode == 0
    for keys in ({}, {**KEYS, "AWS_SECRET_ACCESS_KEY": "anothers"}, {**KEYS, "AWS_ACCESS_KEY_ID": "anothers"}):
        assert seaweedfs.rclone("lsf", ":s3:posthog/exports", keys=keys).returncode != 0
        assert seaweedfs.rclone("copyto", str(recording), ":s3:posthog/exports/two", keys=keys).returncode != 0
    assert names(seaweedfs, "posthog/exports") == ["one"]
    made = seaweedfs.rclone("copyto", "--s3-no-check-bucket", str(recording), ":s3:anothers/one")
    assert made.returncode != 0, "a bucket is made by nobody else"


def test_the_secret_key_is_in_no_log_and_on_no_command_line(seaweedfs: SeaweedFS) -> None:
    secret = KEYS["AWS_SECRET_ACCESS_KEY"]
    assert secret not in seaweedfs.log()
    found = subprocess.run(["/bin/ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "-s3.iam=false" in found
    assert secret not in found


def test_what_was_stored_is_served_after_a_kill_as_soon_as_the_hook_has_ended(
    seaweedfs: SeaweedFS, recording: Path, tmp_path: Path
) -> None:
    assert seaweedfs.rclone("copyto", str(recording), ":s3:posthog/exports/kept").returncode == 0
    seaweedfs.kill()
    seaweedfs.start()
    assert seaweedfs.rclone("copyto", ":s3:posthog/exports/kept", str(tmp_path / "kept")).returncode == 0
    assert (tmp_path / "kept").read_bytes() == recording.read_bytes()
    assert names(seaweedfs, "") == ["posthog/"]


def test_a_recording_whose_time_is_over_is_deleted_and_its_room_is_free_again(
    seaweedfs: SeaweedFS, recording: Path
) -> None:
    def place(folder: str) -> str:
        return f"posthog/session_recordings/{folder}"

    for folder in ("30d", "90d"):
        for number in range(20):
            assert seaweedfs.rclone("copyto", str(recording), f":s3:{place(folder)}/{number}").returncode == 0
    before = seaweedfs.used()
    script = (ROOT / "charts" / "posthog-recordings" / "scripts" / "expire").read_text(encoding="utf-8")

    def expire(ends: str) -> int:
        # Seconds in the place of days.
        return subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", script.replace("${days}d", "${days}s")],
            env={
                "PATH": os.environ["PATH"],
                "PLACE": ":s3:posthog/session_recordings",
                "ENDS": ends,
                "RCLONE_S3_PROVIDER": "Other",
                "RCLONE_S3_ENDPOINT": f"http://localhost:{seaweedfs.port}",
                "RCLONE_S3_REGION": "us-east-1",
                "RCLONE_S3_ACCESS_KEY_ID": KEYS["AWS_ACCESS_KEY_ID"],
                "RCLONE_S3_SECRET_ACCESS_KEY": KEYS["AWS_SECRET_ACCESS_KEY"],
            },
            check=False,
        ).returncode

    assert expire("30d 3600\n90d 3600\n1y 3600\n5y 3600") == 0
    assert len(names(seaweedfs, place("30d"))) == len(names(seaweedfs, place("90d"))) == 20
    time.sleep(2)
    assert expire("30d 1\n90d 3600\n1y 1") == 0
    assert names(seaweedfs, place("30d")) == []
    assert len(names(seaweedfs, place("90d"))) == 20

    def is_free() -> bool:
        # The server itself looks every quarter of an hour.
        seaweedfs.shell("lock", "volume.vacuum -garbageThreshold=0.3", "unlock")
        return seaweedfs.used() < before - 30

    until(is_free, 60)
