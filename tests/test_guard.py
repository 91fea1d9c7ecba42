"""The guard, called as Atlantis calls it: in a checkout, with what Atlantis tells its steps, and a stand-in Terraform.

Conftest and the shell are real. tests/hostile/ has the smallest hostile change of each kind to a stack's JSON: a merge
patch (RFC 7386), the stack that it is for, and the refusal; what no such patch can say is in tables here.
"""

import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stacks import guard
from stacks.project import Project, load
from stacks.synthesis import synthesize
from tests.support import ROOT, Evaluate, Stack, on_the_path

HOSTILE = sorted((ROOT / "tests" / "hostile").glob("*.json"))
NO_CHANGES: dict[str, Any] = {"resource_changes": []}
# It keeps what it was told, makes a plan file, and shows the plan that it is given.
TERRAFORM = """\
#!/bin/sh
{ printf '%s\\n' "$@"; echo; } >> RECORD
env >> RECORD.env
for argument; do
  case $argument in
    -chdir=*)
      cp "${argument#-chdir=}/cdk.tf.json" RECORD.stack
      cp "${argument#-chdir=}/.terraform.lock.hcl" RECORD.lock
      ;;
    -out=*) echo "a plan" > "${argument#-out=}"; echo "x: Refreshing state... [id=x]"; echo "  + x" ;;
    show) cat RECORD.plan ;;
  esac
done
"""


@dataclass
class Checkout:
    """A pull request's checkout on the server, and what Atlantis says of it."""

    root: Path
    place: Path
    binaries: Path
    shell: tuple[str, ...] = ("sh",)
    environment: dict[str, str] = field(default_factory=dict)

    def stack(self, name: str) -> Path:
        return self.root / "terraform" / "stacks" / name

    def change(self, name: str, change: Callable[[Stack], Any]) -> None:
        path = self.stack(name) / "cdk.tf.json"
        path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")

    def run(self, verb: str, name: str, *, workflow: str = "", **told: str) -> subprocess.CompletedProcess[str]:
        folder = self.root / told.get("REPO_REL_DIR", f"terraform/stacks/{name}")
        workflow = workflow or (name if name in ("infra", "prod") else "environment")
        (self.binaries / "record.plan").touch()
        environment = {
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
            "ATLANTIS_GH_TOKEN": "the-token",
            "COMMENT_ARGS": "",
            "DIR": str(folder),
            "HEAD_COMMIT": "0123456",
            "PLANFILE": str(folder / f"{name}-default.tfplan"),
            "PROJECT_NAME": name,
            "REPO_REL_DIR": f"terraform/stacks/{name}",
            "WORKSPACE": "default",
            "ATLANTIS_PR_APPROVED": "true",
            "ATLANTIS_PR_MERGEABLE": "true",
            **self.environment,
            **told,
        }
        command = [*self.shell, str(self.place / "guard"), verb, workflow]
        pipe, both = subprocess.PIPE, subprocess.STDOUT
        return subprocess.run(command, cwd=folder, env=environment, text=True, check=False, stdout=pipe, stderr=both)  # noqa: S603

    def planned(self, plan: object) -> None:
        """Let Terraform show this plan."""
        (self.binaries / "record.plan").write_text(json.dumps(plan), encoding="utf-8")

    def calls(self) -> list[list[str]]:
        """What Terraform was called with, call by call."""
        record = self.binaries / "record"
        text = record.read_text(encoding="utf-8") if record.exists() else ""
        return [call.split("\n") for call in text.split("\n\n") if call]

    def recorded(self, what: str) -> str:
        return (self.binaries / f"record.{what}").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def conftest_binary() -> str:
    return on_the_path("conftest")


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory, conftest_binary: str) -> Project:  # noqa: ARG001
    """The repository's own project, with a state that Atlantis takes."""
    root = tmp_path_factory.mktemp("pushed")
    shutil.copytree(ROOT / "envs", root / "envs")
    shutil.copytree(ROOT / "charts", root / "charts")
    content = json.loads((ROOT / "cdktf.json").read_text(encoding="utf-8"))
    content["context"]["backend"] = {"type": "kubernetes"}
    (root / "cdktf.json").write_text(json.dumps(content), encoding="utf-8")
    project = load(root)
    synthesize(project)
    (root / ".git").mkdir()
    return project


@pytest.fixture(scope="session")
def place(pushed: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guard's folder on the server."""
    folder = tmp_path_factory.mktemp("place")
    for name, content in guard.files(pushed).items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


Clone = Callable[[], Checkout]


@pytest.fixture(scope="session")
def clone(pushed: Project, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    def make() -> Checkout:
        folder = tmp_path_factory.mktemp("clone")
        shutil.copytree(pushed.root, folder / "checkout")
        binaries = folder / "bin"
        binaries.mkdir()
        (binaries / "terraform").write_text(TERRAFORM.replace("RECORD", str(binaries / "record")), encoding="utf-8")
        (binaries / "terraform").chmod(0o755)
        checkout = Checkout(folder / "checkout", place, binaries)
        checkout.planned(NO_CHANGES)
        return checkout

    return make


@pytest.fixture
def checkout(clone: Clone) -> Checkout:
    return clone()


def assert_refused(ran: subprocess.CompletedProcess[str], words: str, checkout: Checkout) -> None:
    assert words in ran.stdout, ran.stdout
    assert ran.returncode == 1, ran.stdout
    assert "refused: " in ran.stdout
    assert checkout.calls() == [], "Terraform was called"


# What passes.


def test_every_stack_is_planned_with_its_own_file_its_own_identity_and_the_right_switch(
    clone: Clone, pushed: Project, place: Path
) -> None:
    for name in ("infra", *pushed.environments):
        checkout = clone()
        ran = checkout.run("plan", name)
        assert ran.returncode == 0, ran.stdout
        tree = checkout.root / ".git" / "strata" / name
        here = f"-chdir={tree}/terraform/stacks/{name}"
        init, plan, show = checkout.calls()
        assert init == [here, "init", "-input=false", "-no-color", "-lockfile=readonly"]
        assert plan == [
            *(here, "plan", "-input=false", "-no-color", "-lock-timeout=2m", f"-out={tree}/plan"),
            f"-var-file={tree}/envs/{name}.tfvars",
            f"-var=enable_infra={'true' if name == 'infra' else 'false'}",
            f"-var=kubeconfig={place}/kubeconfig-{name}",
            "-var=kube_context=",
        ]
        assert show == [here, "show", "-json", f"{tree}/plan"]
        user = json.loads((place / f"kubeconfig-{name}").read_text(encoding="utf-8"))["users"][0]["user"]
        assert user["as"] == f"system:serviceaccount:iac:deployer-{name}"
        assert set(user) == {"as", "tokenFile"}


def test_what_is_applied_is_the_plan_that_was_checked_and_it_is_applied_once(checkout: Checkout) -> None:
    assert checkout.run("plan", "prod").returncode == 0
    tree = checkout.root / ".git" / "strata" / "prod"
    ran = checkout.run("apply", "prod")
    assert ran.returncode == 0, ran.stdout
    chdir = f"-chdir={tree}/terraform/stacks/prod"
    assert checkout.calls()[3:] == [[chdir, "apply", "-input=false", "-no-color", "-lock-timeout=2m", f"{tree}/plan"]]
    assert "there is no plan of this commit" in checkout.run("apply", "prod").stdout


def test_terraform_gets_neither_the_tokens_nor_the_home_of_atlantis(checkout: Checkout, place: Path) -> None:
    checkout.environment = {"HOME": "/home/atlantis", "AWS_REGION": "eu-central-1", "TF_VAR_base_domain": "example.org"}
    assert checkout.run("plan", "staging").returncode == 0
    lines = [line.split("=", 1) for line in checkout.recorded("env").splitlines()]
    allowed = {"PATH", "HOME", "KUBE_CONFIG_PATH", "TF_IN_AUTOMATION", "CHECKPOINT_DISABLE", "AWS_REGION"}
    assert {name for name, _ in lines} - {"PWD", "OLDPWD", "SHLVL", "_"} == allowed
    assert ["HOME", str(checkout.root / ".git" / "strata" / "staging")] in lines
    assert ["KUBE_CONFIG_PATH", str(place / "kubeconfig-staging")] in lines


def test_the_output_is_terraforms_with_its_signs_where_atlantis_colours_them(checkout: Checkout) -> None:
    assert checkout.run("plan", "staging").stdout.startswith("+ x\n")


def test_the_lock_file_is_the_servers_whatever_the_pull_request_says(checkout: Checkout, place: Path) -> None:
    (checkout.stack("staging") / ".terraform.lock.hcl").write_text("provider {}\n", encoding="utf-8")
    assert checkout.run("plan", "staging").returncode == 0
    assert checkout.recorded("lock") == (place / "terraform.lock.hcl").read_text(encoding="utf-8")


def test_terraform_reads_what_conftest_has_read_of_two_equal_keys(checkout: Checkout) -> None:
    path = checkout.stack("staging") / "cdk.tf.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("{", '{"locals": {"hidden": "${file(\\"/etc/passwd\\")}"},', 1), encoding="utf-8")
    assert '"hidden"' in path.read_text(encoding="utf-8")
    assert checkout.run("plan", "staging").returncode == 0
    assert "hidden" not in checkout.recorded("stack")
    assert json.loads(checkout.recorded("stack")) == json.loads(text)


def test_terraform_itself_reads_both_of_two_equal_keys(evaluate: Evaluate, tmp_path: Path) -> None:
    assert evaluate({"variable": {"kubeconfig": {}}}, {}) == {}
    twice = '{"locals": {"a": 1}, "locals": {"b": 2}, "output": {"sum": {"value": "${local.a + local.b}"}}}'
    (tmp_path / "main.tf.json").write_text(twice, encoding="utf-8")
    command = ["terraform", "apply", "-auto-approve", "-no-color"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S603
    assert "sum = 3" in ran.stdout


# What a stack may not hold.


def merged(document: Any, patch: Any) -> Any:  # noqa: ANN401
    if not isinstance(patch, dict):
        return patch
    document = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = merged(document.get(key), value)
    return document


@pytest.fixture(scope="session")
def refusals(clone: Clone) -> dict[str, tuple[subprocess.CompletedProcess[str], Checkout]]:
    """The guard's answer to each hostile change."""

    def ask(path: Path) -> tuple[subprocess.CompletedProcess[str], Checkout]:
        case = json.loads(path.read_text(encoding="utf-8"))
        checkout = clone()
        checkout.change(case["stack"], lambda stack: merged(stack, case["patch"]))
        return checkout.run("plan", case["stack"]), checkout

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip([path.stem for path in HOSTILE], pool.map(ask, HOSTILE), strict=True))


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_a_hostile_stack_is_refused_before_terraform_sees_it(
    path: Path, refusals: dict[str, tuple[subprocess.CompletedProcess[str], Checkout]]
) -> None:
    ran, checkout = refusals[path.stem]
    assert_refused(ran, json.loads(path.read_text(encoding="utf-8"))["expect"], checkout)


@pytest.mark.parametrize("content", ["[]", "[{}]", '"x"', "null", "{", "", '{"a": 1} {"b": 2}', "resource x y {}"])
def test_a_stack_that_is_no_object_is_refused(content: str, checkout: Checkout) -> None:
    (checkout.stack("staging") / "cdk.tf.json").write_text(content, encoding="utf-8")
    ran = checkout.run("plan", "staging")
    assert ran.returncode == 1, ran.stdout
    assert "refused: " in ran.stdout
    assert checkout.calls() == []


def test_a_stack_of_good_stacks_in_an_array_is_refused(checkout: Checkout) -> None:
    checkout.change("staging", lambda stack: [stack])
    assert_refused(checkout.run("plan", "staging"), "cdk.tf.json is no object", checkout)
    checkout.change("staging", lambda stack: [*stack, {"data": {"external": {"x": {"program": ["env"]}}}}])
    assert_refused(checkout.run("plan", "staging"), "cdk.tf.json is no object", checkout)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("enable_infra = true", "enable_infra: never in a tfvars file"),
        ('kubeconfig = "/etc/strata/atlantis/kubeconfig-infra"', "kubeconfig: never in a tfvars file"),
        ('kube_context = "other"', "kube_context: never in a tfvars file"),
        ('chart_mirror = "oci://example.com/charts"', "chart_mirror: found another mirror"),
        ('chart_mirror = "/proc"', "chart_mirror: found another mirror"),
        ("x = {", "refused: see the lines that begin with FAIL"),
    ],
)
def test_a_hostile_tfvars_file_is_refused(line: str, words: str, checkout: Checkout) -> None:
    path = checkout.root / "envs" / "staging.tfvars"
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    assert_refused(checkout.run("plan", "staging"), words, checkout)


def test_a_local_state_is_refused(project: Project, clone: Clone, tmp_path: Path) -> None:
    checkout = clone()
    place = tmp_path / "place"
    place.mkdir()
    for name, content in guard.files(project).items():
        (place / name).write_text(content, encoding="utf-8")
    checkout.place = place
    assert_refused(checkout.run("plan", "staging"), "a local state would be lost with the checkout", checkout)


# What a checkout may not hold.


@pytest.mark.parametrize(
    "name",
    [
        "evil.tf",
        "evil.tf.json",
        "evil.tofu",
        "override.tf.json",
        "terraform.tfvars",
        "x.auto.tfvars",
        ".terraform/terraform.tfstate",
        ".terraformrc",
        "terraform.rc",
        "env/default.tfvars",
        "conftest.toml",
        "errored.tfstate",
        " ",
        "-x",
    ],
)
def test_any_other_file_beside_a_stack_is_refused(name: str, checkout: Checkout) -> None:
    path = checkout.stack("staging") / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("no-fail = true\n", encoding="utf-8")
    assert_refused(checkout.run("plan", "staging"), "is not of make synth's making", checkout)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("envs/staging.tfvars", "/proc/self/environ"),
        ("terraform/stacks/staging/cdk.tf.json", "../prod/cdk.tf.json"),
        ("charts/cluster-issuer/values.yaml", "/proc/self/environ"),
        ("charts/other", "/etc"),
        ("docs/a b\n", "x"),
    ],
)
def test_a_symbolic_link_anywhere_is_refused(link: str, target: str, checkout: Checkout) -> None:
    path = checkout.root / link
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    assert_refused(checkout.run("plan", "staging"), "is a symbolic link", checkout)


def test_a_stacks_folder_that_leads_to_another_is_refused(checkout: Checkout) -> None:
    shutil.rmtree(checkout.stack("staging"))
    checkout.stack("staging").symlink_to("test")
    assert checkout.run("plan", "staging").returncode == 1
    assert checkout.calls() == []


@pytest.mark.parametrize("missing", ["envs/staging.tfvars", "terraform/stacks/staging/cdk.tf.json"])
def test_a_missing_file_is_refused(missing: str, checkout: Checkout) -> None:
    (checkout.root / missing).unlink()
    assert_refused(checkout.run("plan", "staging"), "is missing: run make synth", checkout)


def test_no_configuration_of_conftest_in_the_checkout_is_obeyed(checkout: Checkout) -> None:
    for folder in (checkout.root, checkout.root / "terraform", checkout.root / "terraform" / "stacks"):
        (folder / "conftest.toml").write_text("no-fail = true\n", encoding="utf-8")
    checkout.change("staging", lambda stack: {**stack, "output": {"x": {"value": "x"}}})
    assert_refused(checkout.run("plan", "staging"), "output: a stack has no such block", checkout)


def test_a_plan_that_a_pull_request_brings_along_is_never_applied(checkout: Checkout) -> None:
    brought = checkout.stack("staging") / "staging-default.tfplan"
    brought.write_text("a hostile plan", encoding="utf-8")
    assert_refused(checkout.run("apply", "staging"), "there is no plan of this commit", checkout)
    assert checkout.run("plan", "staging").returncode == 0
    brought.write_text("a hostile plan", encoding="utf-8")
    assert "there is no plan of this commit" in checkout.run("apply", "staging").stdout
    assert len(checkout.calls()) == 3


def test_what_atlantis_yaml_says_does_not_matter(checkout: Checkout) -> None:
    (checkout.root / "atlantis.yaml").write_text("version: 3\nautomerge: true\n", encoding="utf-8")
    assert checkout.run("plan", "staging").returncode == 0


# What a comment may not ask for.


@pytest.mark.parametrize("verb", ["plan", "apply"])
@pytest.mark.parametrize(
    ("name", "workflow", "told", "words"),
    [
        ("staging", "infra", {}, "with the workflow 'infra': take atlantis.yaml as make synth writes it"),
        ("staging", "prod", {}, "with the workflow 'prod'"),
        ("prod", "environment", {}, "with the workflow 'environment'"),
        ("infra", "environment", {}, "with the workflow 'environment'"),
        ("staging", "environment", {"REPO_REL_DIR": "terraform/stacks/prod"}, "there is no project 'staging' in"),
        ("staging", "environment", {"PROJECT_NAME": "prod"}, "there is no project 'prod' in"),
        ("staging", "environment", {"PROJECT_NAME": ""}, "there is no project ''"),
        ("staging", "environment", {"PROJECT_NAME": "staging environment"}, "there is no project"),
        ("staging", "environment", {"PROJECT_NAME": "*"}, "there is no project '*'"),
        ("staging", "environment", {"PROJECT_NAME": "staging\nprod"}, "there is no project"),
        ("staging", "environment", {"WORKSPACE": "other"}, "there is no workspace 'other'"),
        ("staging", "environment", {"COMMENT_ARGS": r"\-\v\a\r\=\x"}, "nothing may follow --"),
        ("staging", "environment", {"COMMENT_ARGS": " "}, "nothing may follow --"),
    ],
)
def test_a_request_whose_parts_do_not_belong_together_is_refused(
    verb: str, name: str, workflow: str, told: dict[str, str], words: str, checkout: Checkout
) -> None:
    assert_refused(checkout.run(verb, name, workflow=workflow, **told), words, checkout)


@pytest.mark.parametrize("name", ["prod", "infra"])
@pytest.mark.parametrize("verb", ["plan", "apply"])
@pytest.mark.parametrize("approved", ["false", "", "True"])
def test_the_guarded_stacks_need_an_approval_to_be_planned_and_to_be_applied(
    name: str, verb: str, approved: str, checkout: Checkout
) -> None:
    ran = checkout.run(verb, name, ATLANTIS_PR_APPROVED=approved)
    assert_refused(ran, "only after somebody has approved the pull request", checkout)


@pytest.mark.parametrize("name", ["prod", "infra"])
def test_the_guarded_stacks_are_applied_only_while_the_pull_request_could_be_merged(
    name: str, checkout: Checkout
) -> None:
    assert checkout.run("plan", name, ATLANTIS_PR_MERGEABLE="false").returncode == 0
    ran = checkout.run("apply", name, ATLANTIS_PR_MERGEABLE="false")
    assert "only when the pull request could be merged" in ran.stdout
    assert len(checkout.calls()) == 3


REVIEW = {"state": "APPROVED", "official": True, "dismissed": False, "stale": False, "commit_id": "0123456"}
# It keeps what it was told by arguments and by stdin, and answers with the reviews.
CURL = """\
#!/bin/sh
printf '%s\\n' "$@" > RECORD.curl
cat > RECORD.stdin
cat RECORD.reviews
"""


def at_gitea(checkout: Checkout, reviews: object, curl: str = CURL) -> Checkout:
    (checkout.binaries / "curl").write_text(curl.replace("RECORD", str(checkout.binaries / "record")), encoding="utf-8")
    (checkout.binaries / "curl").chmod(0o755)
    (checkout.binaries / "record.reviews").write_text(json.dumps(reviews), encoding="utf-8")
    checkout.environment |= {
        "ATLANTIS_GITEA_TOKEN": "the-token",
        "ATLANTIS_GITEA_BASE_URL": "https://git.example.com",
        "BASE_REPO_OWNER": "example",
        "BASE_REPO_NAME": "platform",
        "PULL_NUM": "7",
    }
    return checkout


@pytest.mark.parametrize(
    "reviews",
    [
        [],
        {},
        None,
        "APPROVED",
        *(
            [{**REVIEW, **change}]
            for change in (
                {"state": "REQUEST_CHANGES"},
                {"official": False},
                {"dismissed": True},
                {"stale": True},
                {"commit_id": "another"},
                {"official": None},
            )
        ),
        [{"state": "APPROVED"}],
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_at_gitea_only_the_approval_of_this_commit_by_somebody_who_may_merge_counts(
    reviews: object, verb: str, checkout: Checkout
) -> None:
    ran = at_gitea(checkout, reviews).run(verb, "prod")
    assert_refused(ran, "only after somebody who may merge has approved this commit", checkout)


def test_at_gitea_one_approval_among_other_reviews_suffices_and_the_token_is_no_argument(checkout: Checkout) -> None:
    reviews = [{**REVIEW, "state": "COMMENT"}, {**REVIEW, "official": False}, REVIEW]
    ran = at_gitea(checkout, reviews).run("plan", "prod")
    assert ran.returncode == 0, ran.stdout
    told = checkout.recorded("curl")
    assert "https://git.example.com/api/v1/repos/example/platform/pulls/7/reviews?limit=50" in told
    assert "the-token" not in told
    assert checkout.recorded("stdin") == 'header = "Authorization: token the-token"\n'


def test_at_gitea_an_answer_that_does_not_come_is_no_approval(checkout: Checkout) -> None:
    ran = at_gitea(checkout, [REVIEW], curl="#!/bin/sh\necho 'no such host' >&2; exit 6\n").run("plan", "infra")
    assert_refused(ran, "the reviews could not be asked for: no such host", checkout)


def test_the_other_environments_need_no_approval(checkout: Checkout) -> None:
    told = {"ATLANTIS_PR_APPROVED": "false", "ATLANTIS_PR_MERGEABLE": "false"}
    assert checkout.run("plan", "staging", **told).returncode == 0
    assert checkout.run("apply", "staging", **told).returncode == 0


def test_an_approval_that_atlantis_does_not_tell_of_is_none(checkout: Checkout) -> None:
    command = ["sh", str(checkout.place / "guard"), "plan", "prod"]
    told = {"PATH": os.environ["PATH"], "PROJECT_NAME": "prod", "REPO_REL_DIR": "terraform/stacks/prod"}
    more = {"WORKSPACE": "default", "COMMENT_ARGS": "", "PLANFILE": "/nowhere", "HEAD_COMMIT": "0"}
    ran = subprocess.run(command, cwd=checkout.stack("prod"), env=told | more, capture_output=True, check=False)  # noqa: S603
    assert ran.returncode != 0
    assert checkout.calls() == []


def test_another_commit_needs_another_plan(checkout: Checkout) -> None:
    assert checkout.run("plan", "staging").returncode == 0
    ran = checkout.run("apply", "staging", HEAD_COMMIT="89abcde")
    assert "there is no plan of this commit: comment atlantis plan -p staging" in ran.stdout
    assert len(checkout.calls()) == 3


def test_a_refused_plan_leaves_nothing_to_apply(checkout: Checkout) -> None:
    assert checkout.run("plan", "staging").returncode == 0
    checkout.change("staging", lambda stack: {**stack, "output": {}})
    assert checkout.run("plan", "staging").returncode == 1
    assert "there is no plan of this commit" in checkout.run("apply", "staging").stdout
    assert len(checkout.calls()) == 3


def test_what_is_no_project_is_refused_in_words(checkout: Checkout) -> None:
    ran = checkout.run("refuse", "staging")
    assert ran.stdout == "refused: only the projects of atlantis.yaml are planned: atlantis plan -p <project>\n"
    assert ran.returncode == 1


# What a plan may not do.


def change(address: str, *actions: str, name: str = "x") -> dict[str, Any]:
    before = {"metadata": [{"name": name}]} if "delete" in actions else None
    kind = re.sub(r"\..*", "", address)
    return {"address": address, "type": kind, "change": {"actions": list(actions), "before": before}}


@pytest.mark.parametrize("actions", [("create",), ("update",), ("delete",), ("delete", "create"), ("create", "delete")])
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("terraform_data.k3s_server-a", "nodes are changed from a laptop: make nodes"),
        ("kubernetes_secret_v1.atlantis_credentials[0]", "with TF_VAR_atlantis_token and TF_VAR_"),
    ],
)
def test_a_plan_that_changes_what_is_changed_from_a_laptop_is_refused_and_never_applied(
    address: str, words: str, actions: Iterable[str], checkout: Checkout
) -> None:
    checkout.planned({"resource_changes": [change(address, *actions)]})
    ran = checkout.run("plan", "infra")
    assert ran.returncode == 1
    assert f"FAIL - {checkout.root}/.git/strata/infra/plan.json - plan - {address}: " in ran.stdout
    assert words in ran.stdout
    assert "there is no plan of this commit" in checkout.run("apply", "infra").stdout


def test_a_plan_without_such_a_change_passes(checkout: Checkout) -> None:
    addresses = ("terraform_data.k3s_server-a", "kubernetes_secret_v1.atlantis_credentials[0]")
    changes = [change(address, "no-op") for address in addresses]
    checkout.planned({"resource_changes": [*changes, change("kubernetes_secret_v1.atlantis_web", "update")]})
    ran = checkout.run("plan", "infra")
    assert ran.returncode == 0, ran.stdout
    assert "WARN" not in ran.stdout


@pytest.mark.parametrize("plan", [{}, {"resource_changes": None}, {"resource_changes": {}}, []])
def test_a_plan_that_cannot_be_read_is_refused(plan: object, checkout: Checkout) -> None:
    checkout.planned(plan)
    assert checkout.run("plan", "staging").returncode == 1
    assert "there is no plan of this commit" in checkout.run("apply", "staging").stdout


@pytest.mark.parametrize("actions", [("delete",), ("delete", "create")])
def test_a_plan_that_deletes_what_holds_data_says_so(actions: Iterable[str], checkout: Checkout) -> None:
    lock = change("kubernetes_config_map_v1.redis_lock", *actions, name="deletion-lock-redis")
    other = change("kubernetes_config_map_v1.other", *actions)
    checkout.planned({"resource_changes": [change("helm_release.redis_release", *actions), lock, other]})
    ran = checkout.run("plan", "staging")
    assert ran.returncode == 0
    assert "this plan deletes helm_release.redis_release" in ran.stdout
    assert "this plan deletes the deletion lock kubernetes_config_map_v1.redis_lock" in ran.stdout
    assert "kubernetes_config_map_v1.other" not in ran.stdout


# The files themselves.


def test_the_guard_is_what_posix_shells_read(checkout: Checkout) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is not None:
        subprocess.run([shellcheck, str(checkout.place / "guard")], check=True)  # noqa: S603
    for shell in (("dash",), ("busybox", "sh"), ("bash", "--posix")):
        if shutil.which(shell[0]) is not None:
            subprocess.run([*shell, "-n", str(checkout.place / "guard")], check=True)  # noqa: S603


@pytest.mark.parametrize("shell", [("dash",), ("busybox", "sh"), ("bash", "--posix")], ids=lambda shell: shell[0])
def test_the_guard_works_in_the_shells_of_both_images(shell: tuple[str, ...], checkout: Checkout) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"needs {shell[0]}")
    checkout.shell = shell
    assert checkout.run("plan", "staging").returncode == 0
    assert checkout.run("apply", "staging").returncode == 0
    checkout.change("staging", lambda stack: {**stack, "output": {}})
    assert "output: a stack has no such block" in checkout.run("plan", "staging").stdout


def test_no_file_of_the_guard_holds_a_template_of_terraform_unless_it_is_the_rules(pushed: Project) -> None:
    for name, content in guard.files(pushed).items():
        if not name.startswith("rules"):
            assert not re.search(r"[$%]\{", content), name


def test_every_function_and_argument_of_the_stacks_is_allowed_and_no_reader_is() -> None:
    readers = ("file", "template", "path", "abs", "dir", "base", "time", "uuid", "bcrypt", "plan", "env")
    allowed = {"abs", "base64encode"}
    assert not [name for name in guard.FUNCTIONS if name.startswith(readers) and name not in allowed]
    assert sorted(guard.FUNCTIONS) == list(guard.FUNCTIONS)


def test_a_case_of_the_folder_is_the_smallest_that_says_what_it_says() -> None:
    for path in HOSTILE:
        case = json.loads(path.read_text(encoding="utf-8"))
        assert set(case) == {"stack", "expect", "patch"}, path
        assert copy.deepcopy(case["patch"]), path
