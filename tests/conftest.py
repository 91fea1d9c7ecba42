"""What the tests share: the stacks, synthesized once for the whole run, and Terraform to evaluate them with."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.project import Project, load
from stacks.synthesis import synthesize
from tests.support import CHARTS, ROOT, Evaluate, Refused, Render, Stack, merged, on_the_path, tfvars_of, values_of

# What takes longest begins first, or one process would work alone at the end.
LONGEST = ("test_k3s.py", "test_terraform_agrees.py", "test_guard.py", "test_determinism.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all else stays in its order."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The repository's own project, in a folder of its own."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "cdktf.json", root)
    shutil.copytree(ROOT / "envs", root / "envs")
    return load(root)


@pytest.fixture(scope="session")
def larger(tmp_path_factory: pytest.TempPathFactory, project: Project) -> Project:
    """The same stacks with everything switched on: tests/larger, where all environments have staging's values."""
    root = tmp_path_factory.mktemp("larger")
    shutil.copy(ROOT / "cdktf.json", root)
    shutil.copytree(ROOT / "tests" / "larger", root / "envs")
    text = (root / "envs" / "staging.tfvars").read_text(encoding="utf-8")
    prefix = project.environments["staging"].env_prefix
    for name, settings in project.environments.items():
        own = text.replace(f'"{prefix}"', f'"{settings.env_prefix}"').replace("staging", name)
        (root / "envs" / f"{name}.tfvars").write_text(own, encoding="utf-8")
    return load(root)


@pytest.fixture(scope="session")
def stacks(project: Project) -> dict[str, Stack]:
    """The synthesized stacks by name, as parsed JSON."""
    return _synthesized(project)


@pytest.fixture(scope="session")
def larger_stacks(larger: Project) -> dict[str, Stack]:
    """The same of tests/larger: what is switched on there is in no other stack."""
    return _synthesized(larger)


def _synthesized(project: Project) -> dict[str, Stack]:
    synthesize(project)
    folders = (project.root / "terraform" / "stacks").iterdir()
    return {folder.name: json.loads((folder / "cdk.tf.json").read_text(encoding="utf-8")) for folder in folders}


@pytest.fixture(scope="session")
def environment_stacks(stacks: dict[str, Stack]) -> dict[str, Stack]:
    """All stacks but infra."""
    return {name: stack for name, stack in stacks.items() if name != "infra"}


@pytest.fixture(scope="session")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """Let Terraform evaluate expressions in a stack's variables and locals; no provider and no network is needed.

    `evaluate(stack, {"size": "${var.redis.storage}"}, tfvars=path, enable_infra=False)` returns the values by name.
    """
    terraform = on_the_path("terraform")

    def run(stack: Stack, expressions: Mapping[str, str], *, tfvars: Path | None = None, **variables: object) -> Stack:
        folder = tmp_path_factory.mktemp("terraform")
        configuration = {
            "variable": stack["variable"],
            "locals": stack.get("locals", {}),
        }
        if expressions:
            configuration["output"] = {name: {"value": value} for name, value in expressions.items()}
        # Terraform's errors quote the line they are about: one line each, or a test would match the whole file.
        text = json.dumps(configuration, indent=1)
        # What only a cluster gives out.
        text = re.sub(r"\$\{kubernetes_secret_v1\.(\w+)\.metadata\[0]\.uid}", r"uid-of-\1", text)
        (folder / "main.tf.json").write_text(text, encoding="utf-8")
        arguments = [f"-var={name}={json.dumps(value).strip(chr(34))}" for name, value in variables.items()]
        files = [f"-var-file={tfvars}"] if tfvars is not None else []
        kubeconfig = [] if "kubeconfig" in variables else ["-var=kubeconfig=unused"]
        command = [terraform, "apply", "-auto-approve", "-input=false", "-no-color", *files, *kubeconfig, *arguments]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
        environment |= {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
        applied = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if applied.returncode != 0:
            words = " ".join(applied.stderr.replace("│", " ").split())
            assert "Error: Invalid value for variable" in words, words
            raise Refused(words)
        state = json.loads((folder / "terraform.tfstate").read_text(encoding="utf-8"))
        return {name: output["value"] for name, output in state["outputs"].items()}

    return run


@pytest.fixture(scope="session")
def releases(stacks: dict[str, Stack], project: Project, evaluate: Evaluate) -> list[tuple[str, str, dict[str, Any]]]:
    """Every release of every stack: the stack, the chart's name, and its values."""
    found = []
    for stack_name, stack in stacks.items():
        named = stack["resource"]["helm_release"]
        expressions = {key: values_of(release) for key, release in named.items()}
        tfvars = tfvars_of(project, stack_name)
        values = evaluate(stack, expressions, tfvars=tfvars, enable_infra=stack_name == "infra")
        charts = evaluate(
            stack,
            {key: release["chart"].replace("${path.module}/../../../", "") for key, release in named.items()},
            tfvars=tfvars,
            enable_infra=stack_name == "infra",
        )
        found += [
            (stack_name, charts[key].removeprefix("charts/"), merged(map(yaml.safe_load, files)))
            for key in named
            for files in values[key]
        ]
    return found


@pytest.fixture(scope="session")
def generations(
    stacks: dict[str, Stack], project: Project, evaluate: Evaluate
) -> Callable[..., dict[str, dict[str, Any]]]:
    """The values of each generation's release as Terraform computes them: `generations(postgres={...})`.

    They are those of test, which has no PostHog, if no other stack is given.
    """

    def run(stack: str = "test", **variables: object) -> dict[str, dict[str, Any]]:
        expression = values_of(stacks[stack]["resource"]["helm_release"]["postgres_release"])
        files = evaluate(
            stacks[stack],
            {"values": expression},
            tfvars=tfvars_of(project, stack),
            backups={"bucket": "strata-backups"},
            **variables,
        )["values"]
        found = [merged(map(yaml.safe_load, each)) for each in files]
        return {values["fullnameOverride"]: values for values in found}

    return run


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder for every published chart."""
    if folder := os.environ.get("CHARTS_DIR"):
        return Path(folder).resolve()
    if os.environ.get("CI") == "true":
        pytest.fail("CI needs the charts' files: set CHARTS_DIR")
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("needs CHARTS_DIR, or helm on the PATH")
    root = tmp_path_factory.mktemp("charts")
    for name, chart in CHARTS.items():
        source = chart["repository"]
        place = [f"{source}/{name}"] if source.startswith("oci://") else [name, "--repo", source]
        command = [helm, "pull", *place, "--version", chart["version"], "--untar", "--untardir", str(root)]
        subprocess.run(command, check=True)  # noqa: S603
    return root


@pytest.fixture(scope="session")
def render(charts: Path) -> Render:
    """Let Helm render a chart: `render("external-dns", values)` returns its objects by kind and name.

    `namespace` is where the release would be, `kube-system` if it is not given.
    """
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("needs helm on the PATH")

    def run(chart: str, values: Mapping[str, object], namespace: str = "kube-system") -> dict[str, Stack]:
        folder = ROOT / "charts" / chart if (ROOT / "charts" / chart).is_dir() else charts / chart
        if not (folder / "templates").is_dir():
            pytest.skip(f"needs the templates of the chart {chart} in CHARTS_DIR")
        command = [helm, "template", chart, str(folder), f"--namespace={namespace}", "--values=-"]
        command += ["--api-versions=helm.cattle.io/v1", "--kube-version=1.36.3"]
        text = yaml.safe_dump(dict(values))
        rendered = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603
        assert rendered.returncode == 0, rendered.stderr
        objects = [item for item in yaml.safe_load_all(rendered.stdout) if item]
        return {f"{item['kind']}/{item['metadata']['name']}": item for item in objects}

    return run


@pytest.fixture(scope="session")
def render_what_is_there(request: pytest.FixtureRequest) -> Render:
    """As `render`; but without helm, or all charts, it is each chart that is skipped, and not what else is tested."""
    try:
        render: Render = request.getfixturevalue("render")
    except pytest.skip.Exception as skipped:
        reason = str(skipped)

        def skip(*_: object) -> dict[str, Stack]:
            pytest.skip(reason)

        return skip
    return render
