"""The project's files, read and checked as a whole before anything is synthesized."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from constructs.settings import mapping_value
from stacks import tfvars
from stacks.backend import Backend
from stacks.environment import EnvironmentSettings
from stacks.infra import InfraSettings
from stacks.stack import COMMAND_LINE_VARIABLES

INFRA = "infra"
MAX_NAME = 20
RESERVED = frozenset({INFRA, "all", "data", "default", "iac", "kube", "monitoring", "platform", "shared", "system"})
# What an environment's component needs from infra's.
NEEDS = {"postgres": "operators"}

_TYPES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    tuple: "a list",
    list: "a list",
    dict: "an object",
}
# What to say of each of pydantic's errors.
_SENTENCES = {
    "missing": "missing; add it",
    "value_error": "found {found}; {error}",
    "literal_error": "found {found}; give {expected}",
    "union_tag_invalid": "found {found}; give one of the types {expected_tags}",
    "union_tag_not_found": "found {found}; add its type",
    "greater_than_equal": "found {found}; give at least {ge}",
    "less_than_equal": "found {found}; give at most {le}",
    "string_too_long": "found {length} characters; give at most {max_length} characters",
    "string_too_short": "found {found}; give at least {min_length} characters",
    "string_type": "found {found} ({type}); give a string",
    "int_type": "found {found} ({type}); give a whole number",
    "bool_type": "found {found} ({type}); give a boolean",
    "tuple_type": "found {found} ({type}); give a list",
    "dict_type": "found {found} ({type}); give an object",
    "model_type": "found {found} ({type}); give an object",
    "model_attributes_type": "found {found} ({type}); give an object",
}
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
        problems.extend(f"envs/{path.name}: {problem}" for problem in _name_problems(path.stem))
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
        problems.extend(f"cdktf.json: {line}" for line in _lines(error, CdktfJson))
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
        found = _found(values["environment"])
        problems.append(f'{name}: environment: found {found}; this file is for "{path.stem}": both must agree')
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems.extend(f"{name}: {line}" for line in _lines(error, model))
        return None


def _name_problems(name: str) -> Iterator[str]:
    if len(name) > MAX_NAME:
        yield f"the name has {len(name)} characters; give the file a name of at most {MAX_NAME}"
    if name in RESERVED or name.startswith("kube-"):
        yield "the name is taken by the platform; give the file another one"


def _contradictions(project: Project) -> Iterator[str]:
    """Yield what is wrong between files that are right, each by itself."""
    environments = project.environments
    for key in ("quotas", "tenants"):
        for name in getattr(project.infra, key):
            if name not in environments:
                remedy = f"there is no envs/{name}.tfvars; add the file or remove the entry"
                yield f"envs/{INFRA}.tfvars: {key}.{name}: {remedy}"
    for name, settings in environments.items():
        for component in settings.components:
            needed = NEEDS.get(component)
            if needed is not None and needed not in project.infra.components:
                remedy = f"{component} needs {needed}; add it to components of envs/{INFRA}.tfvars"
                yield f"envs/{name}.tfvars: components: {remedy}"
    yield from _clashing_prefixes(environments)
    for name in project.cdktf.context.promotion:
        if name not in environments:
            yield f"cdktf.json: context.promotion: there is no envs/{name}.tfvars; add the file or remove the name"


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


def _lines(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    for details in error.errors():
        place = ".".join(str(part) for part in details["loc"] if part != "[key]")
        yield ": ".join([*([place] if place else []), _words(details, model)])


def _words(details: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what was found and what to do instead, for one of pydantic's errors."""
    if details["type"] == "extra_forbidden":
        return _unknown_key(details["loc"], model)
    found = details["input"]
    words = {key: str(value) for key, value in details.get("ctx", {}).items()}
    words |= {key: value.replace("'", '"') for key, value in words.items() if key.startswith("expected")}
    words |= {"found": _found(found), "type": _TYPES.get(type(found), "nothing"), "length": str(len(str(found)))}
    return _SENTENCES.get(details["type"], "found {found}; {msg}").format(**words, msg=details["msg"])


def _unknown_key(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    annotation: Any = model
    for part in location[:-1]:
        fields = getattr(annotation, "model_fields", {})
        annotation = mapping_value(annotation) or (fields[str(part)].annotation if fields else annotation)
    known = list(getattr(annotation, "model_fields", {}))
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    guess = f"did you mean {near[0]}? The" if near else "the"
    return f"unknown key; {guess} keys here are {', '.join(known)}" if known else "unknown key; remove it"


def _found(value: object) -> str:
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."  # noqa: PLR2004 (what fits a line)
