"""A Git server with pull requests: Gitea on loopback, with one repository and a few people."""

import base64
import json
import os
import secrets
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.support import free_port

HOST = "localhost"
OWNER, NAME = "platform", "strata"
# `anna` opens pull requests, `berta` reviews them, `carl` may only read.
AUTHOR, REVIEWER, READER, ROBOT = "anna", "berta", "carl", "atlantis"
_CONFIGURATION = """\
RUN_MODE = prod
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = {is_root}
WORK_PATH = {folder}
[server]
PROTOCOL = https
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = https://{host}:{port}/
CERT_FILE = {folder}/cert.pem
KEY_FILE = {folder}/key.pem
DISABLE_SSH = true
OFFLINE_MODE = true
{static}
[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
[webhook]
ALLOWED_HOST_LIST = loopback
[service]
DISABLE_REGISTRATION = true
REQUIRE_SIGNIN_VIEW = true
[repository.pull-request]
WORK_IN_PROGRESS_PREFIXES = draft:
[log]
MODE = file
LEVEL = warn
[cron]
ENABLED = false
[actions]
ENABLED = false
[indexer]
ISSUE_INDEXER_TYPE = db
"""

Found = TypeVar("Found")


def wait_for(what: str, look: Callable[[], Found | None], *, seconds: float = 60) -> Found:
    """Look until something is found, and fail with `what` was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
        time.sleep(0.4)
    message = f"waited {seconds} s for {what}"
    raise AssertionError(message)


class GitServer:
    """Gitea, with a certificate of its own and a protected branch `main`.

    `GITEA_STATIC_ROOT` names the folder of its templates, for a binary that was built without them.
    """

    def __init__(self, folder: Path, *, binary: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"https://{HOST}:{self.port}"
        self.certificate = folder / "cert.pem"
        self.tokens: dict[str, str] = {}
        self._binary = binary
        static = os.environ.get("GITEA_STATIC_ROOT")
        self._configuration = folder / "app.ini"
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
        self._run("cert", "--host", HOST, "--ca", "--ecdsa-curve", "P256", configured=False)
        self._configuration.write_text(
            _CONFIGURATION.format(
                is_root=str(os.geteuid() == 0).lower(),
                folder=folder,
                port=self.port,
                host=HOST,
                static=f"STATIC_ROOT_PATH = {static}" if static else "",
                secret=secrets.token_hex(16),
            ),
            encoding="utf-8",
        )
        self._run("migrate")
        self._passwords = {name: secrets.token_hex(16) for name in (OWNER, AUTHOR, REVIEWER, READER, ROBOT)}
        for name, password in self._passwords.items():
            admin = ["--admin"] if name == OWNER else []
            account = ["--username", name, "--password", password, "--email", f"{name}@example.com"]
            self._run("admin", "user", "create", "--must-change-password=false", *account, *admin)
        with (folder / "gitea.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [binary, "web", "--config", str(self._configuration)],
                cwd=folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)

    def fill(self) -> None:
        """Wait until it is up; give everybody a token, and make the repository."""
        wait_for("Gitea", self._is_up)
        for name in self._passwords:
            token = {"name": "test", "scopes": ["all"] if name != ROBOT else _ROBOTS_SCOPES}
            self.tokens[name] = self.call("POST", f"/users/{name}/tokens", token, who=name)["sha1"]
        self.call("POST", "/user/repos", {"name": NAME, "private": True, "default_branch": "main"}, who=OWNER)
        for name, rights in ((AUTHOR, "write"), (REVIEWER, "write"), (ROBOT, "write"), (READER, "read")):
            self.repository("PUT", f"/collaborators/{name}", {"permission": rights}, who=OWNER)

    def call(self, method: str, path: str, body: object = None, *, who: str = OWNER) -> Any:  # noqa: ANN401 (JSON)
        """Call the API as somebody; the answer is the parsed JSON, `None` where there is none."""
        request = urllib.request.Request(  # noqa: S310 (the address is ours)
            f"{self.address}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": self._credentials(who)},
        )
        trusted = ssl.create_default_context(cafile=str(self.certificate))
        try:
            with urllib.request.urlopen(request, context=trusted, timeout=30) as answer:  # noqa: S310
                text = answer.read()
        except urllib.error.HTTPError as error:
            message = f"{method} {path}: {error.code} {error.read().decode()}"
            raise AssertionError(message) from error
        return json.loads(text) if text.strip() else None

    def repository(self, method: str, path: str, body: object = None, *, who: str = OWNER) -> Any:  # noqa: ANN401
        """Call the API on the repository."""
        return self.call(method, f"/repos/{OWNER}/{NAME}{path}", body, who=who)

    def git(self, folder: Path, *arguments: str, who: str = AUTHOR) -> str:
        """Run git as somebody."""
        login = base64.b64encode(f"{who}:{self.tokens[who]}".encode()).decode()
        settings = {
            "user.name": who,
            "user.email": f"{who}@example.com",
            "http.sslCAInfo": str(self.certificate),
            "http.extraHeader": f"Authorization: Basic {login}",
            "init.defaultBranch": "main",
            "core.quotePath": "false",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        done = subprocess.run(  # noqa: S603
            ["git", *options, *arguments],  # noqa: S607
            cwd=folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def remote(self) -> str:
        return f"{self.address}/{OWNER}/{NAME}.git"

    def branches(self) -> set[str]:
        return {branch["name"] for branch in self.repository("GET", "/branches?limit=100") or []}

    def protect(self) -> None:
        """Let nobody push to `main`, and end an approval with the next commit."""
        rule = {"rule_name": "main", "required_approvals": 1, "dismiss_stale_approvals": True, "enable_push": False}
        self.repository("POST", "/branch_protections", rule)

    def send_events(self, address: str, secret: str) -> None:
        """Tell a server of everything that happens in pull requests."""
        events = ["push", "issue_comment", "pull_request", "pull_request_comment", "pull_request_review"]
        hook = {"url": address, "content_type": "json", "secret": secret}
        events += ["pull_request_sync"]
        self.repository("POST", "/hooks", {"type": "gitea", "active": True, "events": events, "config": hook})

    def _credentials(self, who: str) -> str:
        if who in self.tokens:
            return f"token {self.tokens[who]}"
        return f"Basic {base64.b64encode(f'{who}:{self._passwords[who]}'.encode()).decode()}"

    def _is_up(self) -> bool | None:
        assert self._process.poll() is None, (self.folder / "gitea.log").read_text(encoding="utf-8")
        try:
            self.call("GET", "/version", who=OWNER)
        except (OSError, AssertionError):
            return None
        return True

    def _run(self, *arguments: str, configured: bool = True) -> None:
        configuration = ["--config", str(self._configuration)] if configured else []
        done = subprocess.run(  # noqa: S603
            [self._binary, *arguments, *configuration],
            cwd=self.folder,
            env=self._environment | {"GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": str(os.geteuid() == 0).lower()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


# Git takes no two commands at once in worktrees of the same repository.
_ONE_AT_A_TIME = threading.Lock()
# What docs/reference/systems/atlantis.md says that the token needs.
_ROBOTS_SCOPES = ["write:issue", "write:repository", "read:user"]


class PullRequest:
    """A pull request into `main`, made of a folder in which its branch is checked out."""

    def __init__(self, server: GitServer, main: Path, branch: str, change: Callable[[Path], object]) -> None:
        self.server = server
        self.folder = main.parent / branch
        self._branch = branch
        self._seen = 0
        with _ONE_AT_A_TIME:
            server.git(main, "fetch", "--quiet", server.remote, "+main:refs/remotes/origin/main")
            server.git(main, "worktree", "add", "--quiet", "-b", branch, str(self.folder), "refs/remotes/origin/main")
            self.push(change)
        # Gitea takes note of a pushed branch a moment later.
        wait_for(f"the branch {branch}", lambda: {"main", branch} <= server.branches() or None)
        opened = {"head": branch, "base": "main", "title": branch}
        self.number: int = server.repository("POST", "/pulls", opened, who=AUTHOR)["number"]

    def push(self, change: Callable[[Path], object]) -> None:
        """Add a commit."""
        change(self.folder)
        self.server.git(self.folder, "add", "--all", "--force")
        self.server.git(self.folder, "commit", "--quiet", "--message", "A change")
        self.server.git(self.folder, "push", "--quiet", self.server.remote, f"HEAD:refs/heads/{self._branch}")

    def comment(self, text: str, *, who: str = AUTHOR) -> None:
        self.server.repository("POST", f"/issues/{self.number}/comments", {"body": text}, who=who)

    def ask(self, text: str, *, who: str = AUTHOR) -> str:
        """Comment, and return what Atlantis answers; ask again while it is busy with this pull request."""
        for _ in range(20):
            self.comment(text, who=who)
            answer = self.answer()
            if "Wait until the previous command is complete and try again" not in answer:
                return answer
            time.sleep(1)
        return answer

    def answer(self, *, seconds: float = 120) -> str:
        """Return the next thing that Atlantis says."""

        def look() -> str | None:
            for comment in self._comments():
                if comment["user"]["login"] == ROBOT and comment["id"] > self._seen:
                    self._seen = comment["id"]
                    return str(comment["body"])
            return None

        return wait_for(f"an answer in pull request {self.number}", look, seconds=seconds)

    def wait_for_status(self, context: str, state: str) -> str:
        """Wait until a check of the last commit is in a state, and return its description."""
        head = self.server.git(self.folder, "rev-parse", "HEAD").strip()

        def look() -> str | None:
            found = self.server.repository("GET", f"/commits/{head}/status")["statuses"] or []
            return next(
                (one["description"] for one in found if (one["context"], one["status"]) == (context, state)), None
            )

        return wait_for(f"{context} to be {state} in pull request {self.number}", look)

    def review(self, event: str = "APPROVED", *, who: str = REVIEWER) -> int:
        head = self.server.git(self.folder, "rev-parse", "HEAD").strip()
        body = {"event": event, "body": "Seen.", "commit_id": head}
        number: int = self.server.repository("POST", f"/pulls/{self.number}/reviews", body, who=who)["id"]
        return number

    def dismiss(self, review: int) -> None:
        self.server.repository("POST", f"/pulls/{self.number}/reviews/{review}/dismissals", {"message": "No."})

    def merge(self, *, who: str = OWNER) -> None:
        wait_for("the pull request to be mergeable", lambda: self._state()["mergeable"] or None)
        self.server.repository("POST", f"/pulls/{self.number}/merge", {"Do": "merge", "force_merge": True}, who=who)

    def unlock_and_close(self) -> None:
        """Close it. On Gitea, Atlantis does not notice that, and would keep the lock of what was applied."""
        self.ask("atlantis unlock")
        self.close()

    def close(self) -> None:
        self.server.repository("PATCH", f"/pulls/{self.number}", {"state": "closed"})

    @property
    def is_merged(self) -> bool:
        return bool(self._state()["merged"])

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.server.repository("GET", f"/pulls/{self.number}")
        return state

    def _comments(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.repository("GET", f"/issues/{self.number}/comments")
        return sorted(found, key=lambda comment: comment["id"])
