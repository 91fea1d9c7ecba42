"""The project's files, read and checked as a whole before anything is synthesized."""

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from constructs.l2_platform.kubero import refused_pipelines
from constructs.l2_platform.telemetry import Observers
from stacks import tfvars
from stacks.backend import Backend
from stacks.environment import EnvironmentSettings, contradictions
from stacks.infra import ONE_ENVIRONMENT, InfraSettings
from stacks.problems import found_words, problem_lines
from stacks.quotas import refusals
from stacks.stack import COMMAND_LINE_VARIABLES

INFRA = "infra"
# The workflow that asks for a review, and the environment that always has it.
GUARDED = "prod"
MAX_NAME = 20
RESERVED = frozenset({INFRA, "all", "data", "default", "iac", "kube", "monitoring", "platform", "shared", "system"})
# What Vault has engines, policies or paths of: an environment's own are called after it.
RESERVED |= {"administrator", "agent-registry", "auth", "cubbyhole", "database", "identity", "root", "snapshots", "sys"}
RESERVED_PREFIXES = ("database-", "kube-")
# What a component needs of infra's.
NEEDS = {"database": "operators", "operators": "certificates", "postgres": "operators"}

Model = TypeVar("Model", bound=BaseModel)


class ProjectError(Exception):
    """Files that cannot be synthesized; `problems` has a line for each thing to mend: file, key, found, what to do."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Context(BaseModel):
    """The context of cdktf.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Backend
    promotion: tuple[str, ...]

    @field_validator("promotion")
    @classmethod
    def _is_a_path(cls, promotion: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(promotion)) != len(promotion):
            message = "give each environment once"
            raise ValueError(message)
        if promotion[:1] == (GUARDED,):
            message = f"the first is planned by itself: put another environment before {GUARDED}"
            raise ValueError(message)
        return promotion


class CdktfJson(BaseModel):
    """What Strata reads of cdktf.json."""

    model_config = ConfigDict(frozen=True)

    output: Literal["terraform"]
    context: Context


@dataclass(frozen=True)
class Project:
    """A checkout whose files agree with each other."""

    root: Path
    cdktf: CdktfJson
    infra: InfraSettings
    environments: Mapping[str, EnvironmentSettings]


def environment_of(project: Project, name: str, infra_words: str) -> EnvironmentSettings:
    """Return the settings of an environment; `infra_words` are for who asks for infra. Raises `ProjectError`."""
    if name in project.environments:
        return project.environments[name]
    message = f"ENV={name}: give one of {', '.join(project.environments)}"
    raise ProjectError([f"{message}; {infra_words}" if name == INFRA else message])


def load(root: Path) -> Project:
    """Read cdktf.json and every tfvars file under `root`. Raises `ProjectError` with all problems at once."""
    problems: list[str] = []
    cdktf = _read_cdktf(root, problems)
    infra: InfraSettings | None = None
    environments: dict[str, EnvironmentSettings] = {}
    for path in sorted((root / "envs").glob("*.tfvars")):
        if path.stem == INFRA:
            infra = _read_tfvars(root, path, InfraSettings, problems)
            continue
        problems.extend(f"envs/{path.name}: {problem}" for problem in name_problems(path.stem))
        settings = _read_tfvars(root, path, EnvironmentSettings, problems)
        if settings is not None:
            environments[path.stem] = settings
    if not (root / "envs" / f"{INFRA}.tfvars").is_file():
        problems.append(f"envs/{INFRA}.tfvars: the file is missing; every project has one, for L1 and L2")
    if cdktf is None or infra is None or problems:
        raise ProjectError(problems)
    project = Project(root, cdktf, infra, environments)
    problems.extend(_contradictions(project))
    if problems:
        raise ProjectError(problems)
    return project


def _read_cdktf(root: Path, problems: list[str]) -> CdktfJson | None:
    try:
        content = json.loads((root / "cdktf.json").read_text(encoding="utf-8"))
        return CdktfJson.model_validate(content)
    except ValidationError as error:
        problems.extend(f"cdktf.json: {line}" for line in problem_lines(error, CdktfJson))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        problems.append(f"cdktf.json: cannot be read: {reason}; mend it or restore it from git")
    return None


def _read_tfvars(root: Path, path: Path, model: type[Model], problems: list[str]) -> Model | None:
    name = path.relative_to(root).as_posix()
    try:
        values = tfvars.read(path)
    except tfvars.TfvarsError as error:
        problems.append(f"{name}: {error}")
        return None
    except OSError as error:
        problems.append(f"{name}: cannot be read: {error.strerror}; give a file or remove it")
        return None
    for key in COMMAND_LINE_VARIABLES:
        if key in values:
            del values[key]
            problems.append(
                f"{name}: {key}: never in a file; remove it and give it on the command line, -var={key}=..."
            )
    if values.get("environment", path.stem) != path.stem:
        found = found_words(values["environment"])
        problems.append(f'{name}: environment: found {found}; this file is for "{path.stem}": both must agree')
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems.extend(f"{name}: {line}" for line in problem_lines(error, model))
        return None


def name_problems(name: str) -> Iterator[str]:
    """Yield why a file of this name cannot be an environment's."""
    if len(name) > MAX_NAME:
        yield f"the name has {len(name)} characters; give the file a name of at most {MAX_NAME}"
    if name in RESERVED or name.startswith(RESERVED_PREFIXES):
        yield "the name is taken by the platform; give the file another one"
    if "--" in name:
        yield "the name has two dashes in a row, which Traefik reads as one; give one"


def _contradictions(project: Project) -> Iterator[str]:
    """Yield what is wrong between files that are right, each by itself."""
    environments = project.environments
    for key in ("quotas", "tenants"):
        for name in getattr(project.infra, key):
            if name not in environments:
                remedy = f"there is no envs/{name}.tfvars; add the file or remove the entry"
                yield f"envs/{INFRA}.tfvars: {key}.{name}: {remedy}"
    given = [name for tenant in project.infra.tenants.values() for name in tenant.applications]
    for name in sorted({name for name in given if given.count(name) > 1}):
        yield f'envs/{INFRA}.tfvars: tenants: found the application "{name}" twice; {ONE_ENVIRONMENT}'
    yield from _missing_components(project)
    for name, file in environments.items():
        yield from (f"envs/{name}.tfvars: {key}: {remedy}" for key, remedy in contradictions(file))
    yield from refusals(project.infra, environments)
    prefixes = sorted(settings.env_prefix for settings in environments.values() if settings.env_prefix)
    for key, remedy in refused_pipelines(project.infra.kubero.namespaces, project.infra.base_domain, prefixes):
        yield f"envs/{INFRA}.tfvars: {key}: {remedy}"
    refused = observers(environments).refused(
        project.infra.telemetry, is_component="telemetry" in project.infra.components
    )
    yield from (f"envs/{INFRA}.tfvars: {key}: {remedy}" for key, remedy in refused)
    yield from _clashing_names(environments)
    yield from _clashing_prefixes(environments)
    for name in project.cdktf.context.promotion:
        if name not in environments:
            yield f"cdktf.json: context.promotion: there is no envs/{name}.tfvars; add the file or remove the name"


def observers(environments: Mapping[str, EnvironmentSettings]) -> Observers:
    """Return whose SigNoz the platform's telemetry may be sent to, and whose logs beside its own."""
    with_signoz = [name for name, settings in environments.items() if "signoz" in settings.components]
    return Observers(list(environments), with_signoz, GUARDED)


def _missing_components(project: Project) -> Iterator[str]:
    """Yield components without what they need of infra's."""
    for name, settings in ((INFRA, project.infra), *project.environments.items()):
        for component in settings.components:
            needed = NEEDS.get(component)
            if needed is not None and needed not in project.infra.components:
                remedy = f"{component} needs {needed}; add it to components of envs/{INFRA}.tfvars"
                yield f"envs/{name}.tfvars: components: {remedy}"


def _clashing_names(names: Collection[str]) -> Iterator[str]:
    """Yield names of which one begins with another.

    Traefik joins namespace, Service and port with dashes, and keeps what comes last under a name: `eu-web` in
    `data-prod` and `web` in `data-prod-eu` are one to it (v3.7.8, pkg/provider/kubernetes/ingress/kubernetes.go).
    """
    for name, other in itertools.permutations(sorted(names), 2):
        if name.startswith(f"{other}-"):
            remedy = (
                f"Traefik could take its Services for those of {other}; give a name that does not begin with {other}-"
            )
            yield f"envs/{name}.tfvars: {remedy}"


def _clashing_prefixes(environments: Mapping[str, EnvironmentSettings]) -> Iterator[str]:
    """Yield prefixes by which a host name of one environment could be read as another's."""
    names = sorted(environments)
    for name in names:
        for other in names:
            mine, theirs = environments[name].env_prefix, environments[other].env_prefix
            is_same = mine == theirs and name < other
            is_longer = theirs not in (mine, "") and mine.startswith(f"{theirs}-")
            if is_same or is_longer:
                yield (
                    f'envs/{name}.tfvars: env_prefix: found "{mine}", envs/{other}.tfvars has "{theirs}"; '
                    "give prefixes of which none begins with another, and at most one that is empty"
                )
