"""One file, two readers: what Python accepts is the same value in Terraform, what Terraform refuses Python refuses."""

import json
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le
from cdktf import App
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from constructs.l2_platform.kubero import refused_pipelines
from constructs.l2_platform.telemetry import LogSettings, Observers, TelemetrySettings
from constructs.l3_data.postgres import PostgresSettings
from constructs.settings import (
    AtLeast,
    Count,
    Form,
    Name,
    Settings,
    Size,
    Unique,
    Url,
    is_settings,
    is_tuple_of,
    unwrap,
)
from stacks import tfvars
from stacks.backend import LocalBackend
from stacks.environment import EnvironmentSettings, contradictions
from stacks.infra import InfraSettings
from stacks.project import GUARDED, Project
from stacks.stack import COMMAND_LINE_VARIABLES, StackSettings
from stacks.stack import Stack as SynthesizedStack
from tests.support import Evaluate, Refused, Stack

TempPaths = pytest.TempPathFactory
ODD = "${a} %{b} $${c} %%{d} $$ %% $ % { } \\ \" ' # // /* */ <<E , = : \n\t~ \\n \\u0041 ${ %{ }"
PIPELINES = ["shop-production", "shop-staging", "a-b-c"]
# Printable ASCII, with more of what means something in HCL.
ODD_TEXT = st.text(st.one_of(st.characters(min_codepoint=0x20, max_codepoint=0x7E), st.sampled_from('$%{}"\\\n\t')))


class Item(Settings):
    """An item of a map, with what no system's settings have yet."""

    size: Annotated[Size, AtLeast(100)] = "1Gi"
    """A size."""
    url: Url = "https://example.com/%7Ba%7D?b={c}".replace("{", "(").replace("}", ")")
    """An address."""
    note: str = ODD
    """Any text."""


class Probe(StackSettings):
    """Settings of every kind that the machinery knows, free text among them."""

    components: tuple[Literal["probe"], ...]
    """Its one system."""
    text: str = ODD
    """Any text, with ${a}, %{b} and \\ in its description."""
    texts: tuple[str, ...] = (ODD, "")
    """Any texts."""
    sizes: tuple[Size, ...] = ("1Mi",)
    """Sizes."""
    number: int = 7
    """Any number."""
    share: Annotated[int, Field(ge=-5, le=100)] = 0
    """A number with limits."""
    short: str = Field(default="", max_length=5)
    """A short text."""
    grid: tuple[tuple[Name, ...], ...] = (("a", "b"), ())
    """A list of lists."""
    item: Item = Item()
    """An item."""
    items: dict[Name, Item] = Field(default_factory=dict)
    """Items by name."""
    row: Annotated[tuple[Item, ...], Count((1, 3), "items make no row"), Unique("size")] = ()
    """Items in a row."""


class Subject:
    """A synthesized stack, and the model that its tfvars file must satisfy."""

    def __init__(self, stack: Stack, file: StackSettings, names: tuple[str, ...]) -> None:
        self.stack = stack
        self.file = file
        self.names = names

    def values(self) -> st.SearchStrategy[dict[str, Any]]:
        """Return what a file of this stack may hold."""
        pinned = {
            "environment": st.just(self.file.environment),
            "env_prefix": st.just(self.file.env_prefix),
            "components": st.permutations(self.file.components).map(tuple),
            # Whose SigNoz, and whose logs, must be environments of the project.
            "telemetry": _objects(
                TelemetrySettings,
                self.names,
                {"environment": st.sampled_from(self.names), "logs": _objects(LogSettings, self.names, OWN_LOGS)},
            ),
            # PostHog's connections need as much.
            "postgres": _objects(PostgresSettings, self.names, {"memory": st.sampled_from(["1Gi", "1025Mi", "1Ti"])}),
        }
        allowed = TypeAdapter(type(self.file))
        # What holds between fields is drawn by chance, and kept where it holds.
        return _objects(type(self.file), self.names, pinned, most=4).filter(
            lambda values: _is_valid(allowed, values) and self._holds_together(allowed.validate_python(values))
        )

    def accepted(self, path: Path) -> dict[str, Any] | None:
        """Return what Python reads, or None where it refuses the file or would synthesize another stack from it."""
        try:
            values = tfvars.read(path)
            model = type(self.file).model_validate(values)
        except (tfvars.TfvarsError, ValidationError):
            return None
        # What the project refuses of files that are right by themselves.
        if isinstance(model, InfraSettings) and any(refused_pipelines(model.kubero.namespaces, model.base_domain, ())):
            return None
        named = {name for key in ("quotas", "tenants") for name in getattr(model, key, {})}
        is_this_stack = (
            model.environment == self.file.environment
            and model.env_prefix == self.file.env_prefix
            and sorted(model.components) == sorted(self.file.components)
            and named <= set(self.names)
            and self._holds_together(model)
            and not set(values) & set(COMMAND_LINE_VARIABLES)
        )
        return model.model_dump() if is_this_stack else None

    def _holds_together(self, model: StackSettings) -> bool:
        """Tell whether an environment's systems fit each other, and infra's telemetry and applications those."""
        if isinstance(model, EnvironmentSettings):
            return not list(contradictions(model))
        if not isinstance(model, InfraSettings):
            return True
        applications = [name for tenant in model.tenants.values() for name in tenant.applications]
        if len(set(applications)) != len(applications):
            return False
        observers = Observers(self.names, self.names, GUARDED)
        return not list(observers.refused(model.telemetry, is_component="telemetry" in model.components))

    def planned(self, path: Path, evaluate: Evaluate) -> dict[str, Any]:
        """Return what Terraform reads. Raises `Refused`."""
        expressions = {name: f"${{var.{name}}}" for name in type(self.file).model_fields}
        is_infra = isinstance(self.file, InfraSettings)
        return evaluate(self.stack, expressions, tfvars=path, enable_infra=is_infra)


@pytest.fixture(scope="module")
def subjects(
    project: Project, stacks: dict[str, Stack], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Subject]:
    folder = tmp_path_factory.mktemp("probe")
    probe = Probe(environment="probe", env_prefix="", base_domain="example.com", components=("probe",))
    app = App(outdir=str(folder))
    SynthesizedStack(app, file=probe, is_infra=False, namespace="probe", backend=LocalBackend(type="local"))
    app.synth()
    synthesized = json.loads((folder / "stacks" / "probe" / "cdk.tf.json").read_text(encoding="utf-8"))
    names = tuple(project.environments)
    return {
        "staging": Subject(stacks["staging"], project.environments["staging"], names),
        "infra": Subject(stacks["infra"], project.infra, names),
        "probe": Subject(synthesized, probe, ("a", "b-c", "if", "for", "null", "1")),
    }


# What a file may hold, and how it may be written.

OWN_LOGS = {"environments": st.just(())}


def _objects(
    model: type[Settings],
    names: tuple[str, ...],
    pinned: Mapping[str, st.SearchStrategy[Any]],
    *,
    most: int | None = None,
) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects of a model, each with what is pinned, and `most` other fields at most: a whole one takes long."""
    fields = model.model_fields
    strategies = {name: pinned.get(name, _of_field(field, names)) for name, field in fields.items()}
    required = {name: strategy for name, strategy in strategies.items() if name in pinned or fields[name].is_required()}
    optional = {name: strategy for name, strategy in strategies.items() if name not in required}
    objects = st.fixed_dictionaries(required, optional=optional)
    if most is not None:
        chosen = st.sets(st.sampled_from(sorted(optional)), max_size=most)
        objects = chosen.flatmap(
            lambda some: st.fixed_dictionaries({**required, **{name: optional[name] for name in sorted(some)}})
        )
    return objects.filter(lambda values: _is_valid(TypeAdapter(model), values)) if model.needs else objects


def _of_field(field: FieldInfo, names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    return _of_type(field.annotation, tuple(field.metadata), names)


def _of_type(annotation: Any, metadata: tuple[Any, ...], names: tuple[str, ...]) -> st.SearchStrategy[Any]:  # noqa: ANN401
    annotation, inner = unwrap(annotation)
    constraints = (*inner, *metadata)
    if is_settings(annotation):
        objects = _objects(annotation, names, {})
        together: TypeAdapter[Any] = TypeAdapter(Annotated[(annotation, *constraints)] if constraints else annotation)
        return objects.filter(lambda values: _is_valid(together, values)) if constraints else objects
    if typing.get_origin(annotation) is Literal:
        return st.sampled_from(typing.get_args(annotation))
    if is_tuple_of(annotation):
        lists = st.lists(_of_type(typing.get_args(annotation)[0], (), names), max_size=3).map(tuple)
        allowed = TypeAdapter(Annotated[(annotation, *constraints)] if constraints else annotation)
        return lists.filter(lambda values: _is_valid(allowed, values)) if constraints else lists
    if typing.get_origin(annotation) is dict:
        key, item = typing.get_args(annotation)
        # A map is keyed by names of environments, or by what none of them can be.
        keys = [name for name in names if _is_valid(TypeAdapter(key), name)] or PIPELINES
        return st.dictionaries(st.sampled_from(keys), _of_type(item, (), names), max_size=3)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        least = next((int(str(limit.ge)) for limit in constraints if isinstance(limit, Ge)), -(10**15) + 1)
        most = next((int(str(limit.le)) for limit in constraints if isinstance(limit, Le)), 10**15 - 1)
        return st.integers(least, most)
    return _texts(constraints)


def _texts(constraints: tuple[Any, ...]) -> st.SearchStrategy[str]:
    form = next((constraint for constraint in constraints if isinstance(constraint, Form)), None)
    texts = ODD_TEXT if form is None else st.from_regex(re.compile(form.pattern, re.ASCII), fullmatch=True)
    allowed = TypeAdapter(Annotated[(str, *constraints)] if constraints else str)
    return texts.filter(lambda text: _is_valid(allowed, text))


def _is_valid(allowed: TypeAdapter[Any], value: object) -> bool:
    try:
        allowed.validate_python(value)
    except ValidationError:
        return False
    return True


_BLANKS = st.sampled_from(["", " ", "  ", "\t"])
_GAPS = st.sampled_from(["", " ", "  ", "\t", ' /* , } = " */ ', "/**/"])
_ENDS = st.sampled_from(["\n", "\n\n", ' # a = "b", ${c}\n', " // }\n\t", "\n/* d = 1\n */\n", "\r\n"])
_BARE = re.compile("(?!(null|true|false|for)$)[A-Za-z_][A-Za-z0-9_-]*")


@st.composite
def files(draw: st.DrawFn, values: Mapping[str, Any]) -> str:
    """Return a tfvars file that holds the values, written as nobody would but everybody may."""
    written = [draw(_ENDS)] if draw(st.booleans()) else []
    for key in draw(st.permutations(list(values))):
        written += [key, draw(_BLANKS), "=", draw(_BLANKS), draw(_written(values[key])), draw(_GAPS), draw(_ENDS)]
    text = "".join(written)
    text = text if draw(st.booleans()) else text.rstrip("\r\n")
    return text.replace("\r\n", "\n").replace("\n", "\r\n") if draw(st.booleans()) else text


@st.composite
def _written(draw: st.DrawFn, value: object) -> str:
    match value:
        case bool() | None:
            return json.dumps(value)
        case int():
            sign, digits = ("-" if value < 0 else ""), str(abs(value))
            return f"{sign}{draw(st.sampled_from(['', '', '00'])) if len(digits) < 10 else ''}{digits}"
        case str():
            return draw(_quoted(value))
        case tuple() | list():
            space = st.one_of(_GAPS, _ENDS)
            items = [f"{draw(space)}{draw(_written(item))}{draw(space)}" for item in value]
            comma = draw(st.sampled_from(["", ","])) if items else ""
            return f"[{','.join(items)}{comma}{draw(space)}]"
        case dict():
            return draw(_object(value))
        case _:
            return str(value)


@st.composite
def _object(draw: st.DrawFn, value: Mapping[str, object]) -> str:
    written = ["{", draw(st.one_of(_GAPS, _ENDS))]
    keys = draw(st.permutations(list(value)))
    for key in keys:
        is_bare = _BARE.fullmatch(key) and draw(st.booleans())
        name = key if is_bare else draw(_quoted(key))
        written += [
            name,
            draw(_BLANKS),
            draw(st.sampled_from("=:")),
            draw(_BLANKS),
            draw(_written(value[key])),
            draw(_GAPS),
        ]
        ends = [_ENDS, st.builds("{},{}{}".format, _GAPS, _GAPS, st.one_of(st.just(""), _ENDS))]
        written.append(draw(st.one_of(*ends, *([st.just("")] if key == keys[-1] else []))))
    return "".join([*written, "}"])


@st.composite
def _quoted(draw: st.DrawFn, text: str) -> str:
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, len(text)))
    code = draw(st.sampled_from(["\\u{:04x}", "\\u{:04X}", "\\U{:08x}"]))
    coded = "".join(code.format(ord(char)) for char in text[start:end])
    return f'"{_escaped(text[:start])}{coded}{_escaped(text[end:])}"'


def _escaped(text: str) -> str:
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    text = "".join(short.get(char, char) for char in text)
    return re.sub(r"([$%])\{", r"\1\\u007b", text)


# What may be broken in it.

_WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10),
    st.integers(10**14, 10**16) | st.integers(10**154, 10**155),
    st.integers().map(str),
    st.sampled_from(
        ["1.0", "1.5", "1e2", "-0", "0x10", "1_000", "1e-3", "0.1", "(1)", "1 + 1", "var.a", "a", "true ? 1 : 2"]
    ),
    st.sampled_from(
        ["", "0Mi", "1Gb", "0m", "63Mi", "-", "a-", "x--y", "A", "a.b", "http://a", "a@b", "a@b.c\n", "1Gi\n"]
    ),
    ODD_TEXT,
    st.lists(st.sampled_from(["a", "A", 1, "redis", "data-a"]), max_size=2),
    st.dictionaries(
        st.sampled_from(["a", "memory", "pods", "x y", "for", "for_each"]), st.sampled_from([1, "1Gi", "a"]), max_size=2
    ),
)
_SNIPPETS = st.sampled_from(
    [
        *"\"\\\n\r\t ,=:{}[]()#/$%-+.!?~<>*0eE_;`'",
        *("${", "$${", "%{", "%%{", "$$${", "$${}", "%%{}", '$${"}', '$${\\"}', "%{a}", "${1}"),
        *("//", "/*", "*/", "/**/", "<<E\nE\n", "<<-E", "null", "true", "for", "if", "...", "=>", "==", "::"),
        *("\\n", "\\r", "\\u", "\\u0041", "\\u0000", "\\u00e9", "\\U00000041", "\\x41", "\\$", '\\"', "\r\n"),
        *("e5", ".0", "-1", "a = 1", 'a = "b"', "a {}\n", "\x00", "\x0c", "\u00a0", "\u00e9", "\ufeff", "\u2028"),
    ]
)


@st.composite
def broken(draw: st.DrawFn, values: dict[str, Any]) -> str:
    """Return a tfvars file with one random break: of a value, of the text, or of both."""
    kind = draw(st.sampled_from(["value", "text", "text", "both"]))
    if kind != "text":
        values = draw(_broken_value(values))
    text = draw(files(values))
    # Legal too, but nothing that the reader must take.
    for careful, careless in (("$\\u007b", "$${"), ("%\\u007b", "%%{"), ('"for"', "for")):
        text = text.replace(careful, careless) if draw(st.booleans()) else text
    return text if kind == "value" else draw(_broken_text(text))


@st.composite
def _broken_value(draw: st.DrawFn, values: dict[str, Any]) -> dict[str, Any]:
    path = draw(st.sampled_from(list(_paths(values))))
    copy: dict[str, Any] = json.loads(json.dumps(values))
    at: Any = copy
    for part in path[:-1]:
        at = at[part]
    match draw(st.sampled_from(["wrong", "wrong", "remove", "add"])):
        case "remove":
            del at[path[-1]]
        case "add" if isinstance(at, dict):
            at[draw(st.sampled_from(["memori", "a", "kubeconfig"]))] = draw(_WRONG)
        case _:
            at[path[-1]] = _Raw(wrong) if _is_raw(wrong := draw(_WRONG)) and draw(st.booleans()) else wrong
    return copy


class _Raw:
    """Text that is written without quotes."""

    def __init__(self, text: object) -> None:
        self._text = str(text)

    def __str__(self) -> str:
        return self._text


def _is_raw(value: object) -> bool:
    return isinstance(value, str)


@st.composite
def _broken_text(draw: st.DrawFn, text: str) -> str:
    marks = [found.start() for found in re.finditer(r'["{}\[\],=#/\n]', text)]
    start = draw(st.one_of(st.integers(0, len(text)), st.sampled_from([0, len(text), *marks])))
    end = min(len(text), start + draw(st.sampled_from([0, 0, 0, 1, 1, 2, 5])))
    kept = draw(st.sampled_from(["", "", text[start : start + 30]]))
    return f"{text[:start]}{draw(st.one_of(st.just(''), _SNIPPETS))}{kept}{text[end:]}"


def _paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    parts: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, tuple):
        parts = list(enumerate(value))
    for part, inner in parts:
        yield (*path, part)
        yield from _paths(inner, (*path, part))


def is_read_alike(subject: Subject, path: Path, evaluate: Evaluate) -> bool:
    """Return False where Python refuses the file; where it accepts it, Terraform must, with the same value."""
    accepted = subject.accepted(path)
    if accepted is None:
        return False
    assert subject.planned(path, evaluate) == json.loads(json.dumps(accepted))
    return True


SUBJECTS = ["staging", "infra", "probe"]
# Nothing is shrunk: every step of it would be a run of Terraform, minutes of them.
SAME_EVERY_TIME = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", SUBJECTS)
@settings(SAME_EVERY_TIME, max_examples=8)
@given(data=st.data())
def test_a_valid_file_is_the_same_value_in_both(
    name: str, data: st.DataObject, subjects: dict[str, Subject], evaluate: Evaluate, tmp_path_factory: TempPaths
) -> None:
    values = data.draw(subjects[name].values())
    path = tmp_path_factory.mktemp("valid") / f"{name}.tfvars"
    path.write_bytes(data.draw(files(values)).encode())
    assert tfvars.read(path) == values
    assert is_read_alike(subjects[name], path, evaluate)


@pytest.mark.parametrize("name", SUBJECTS)
@settings(SAME_EVERY_TIME, max_examples=40)
@given(data=st.data())
def test_a_broken_file_is_refused_or_the_same_value_in_both(
    name: str, data: st.DataObject, subjects: dict[str, Subject], evaluate: Evaluate, tmp_path_factory: TempPaths
) -> None:
    path = tmp_path_factory.mktemp("broken") / f"{name}.tfvars"
    path.write_bytes(data.draw(broken(data.draw(subjects[name].values()))).encode())
    is_read_alike(subjects[name], path, evaluate)


PROBE = 'environment = "probe"\nenv_prefix = ""\nbase_domain = "example.com"\ncomponents = ["probe"]\n'


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        # What a template is, and what is none.
        ('text = "$${a}%%{b}$$%%$%"', True),
        ('text = "$$${a}%%%{b}$$$${c}"', True),
        (r'text = "$\u007ba}%\U0000007bb}"', True),
        (r'text = "$${a\"b\\}\\$${c}"', True),
        ('text = "$${a"b}"', False),
        ('text = "$${"}"', False),
        ('text = "$${$${a}}"', False),
        ('text = "$${%%{a}}"', False),
        ('text = "$${${a}}"', False),
        ('text = "%%{ if true }%{ endif }"', False),
        # Where a line ends.
        ('text = "a"\r\nnumber = 1\r\n', True),
        ('text = "a" // b', True),
        ('text = "a"\r', False),
        ('text = "a" /*\n*/ number = 1', False),
        ("items = { a = {} // b\n c = {} }", True),
        ("items = { a = {} /*\n*/ c = {} }", False),
        ("items = { a = {}\n, c = {} }", False),
        ('texts = ["a" # b\n, "c"\n,]', True),
        # What a number is.
        ("number = -007", True),
        ("number = -999999999999999", True),
        (f"number = {'9' * 155}", False),
        # What a name is.
        ('items = { if = {}, in : {}, "for" = {}, "null" = {}, a-b = {} }', True),
        ("items = { a = {}, for = {} }", False),
        ("items = { for = {} }", False),
        (r'items = { "a" = {}, "\u0061" = {} }', False),
        ("items = { a- = {} }", False),
        # Defaults at every depth, and the limits of each.
        ("", True),
        ('item = { size = "1Ti" }\nitems = { a = { size = "100Mi" } }', True),
        ('items = { a = { size = "99Mi" } }', False),
        ('row = [{ size = "100Mi" }]', True),
        ('row = [{ size = "100Mi" }, { size = "2Gi" }, {}]', True),
        ('row = [{ size = "100Mi" }, {}]', False),
        ('row = [{ size = "1Gi" }, { size = "2Gi" }, {}]', False),
        ('row = [{ size = "99Mi" }]', False),
        ("share = -5", True),
        ("share = 101", False),
        ('short = "$${a}"', True),
        ('short = "$${abc}"', False),
    ],
)  # fmt: skip
def test_what_is_hard_to_read_is_refused_or_the_same_value_in_both(
    *,
    text: str,
    is_read: bool,
    subjects: dict[str, Subject],
    evaluate: Evaluate,
    tmp_path: Path,
) -> None:
    path = tmp_path / "probe.tfvars"
    path.write_bytes(f"{PROBE}{text}".encode())
    assert is_read_alike(subjects["probe"], path, evaluate) == is_read


NODES = {"alpha": '{ name = "alpha", host = "alpha.example.com" }', "delta": '{ name = "delta", host = "10.0.0.4" }'}


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ("k3s_servers = []\nk3s_agents = []", True),
        ("k3s_servers = [{alpha}]\nk3s_agents = [{delta}]", True),
        ("k3s_agents = [{delta}]", False),
        ("k3s_servers = [{alpha}]\nk3s_agents = [{alpha}]", False),
        ('k3s_servers = [{alpha}]\nk3s_agents = [{{ name = "b", host = "alpha.example.com" }}]', False),
        ('k3s_servers = [{alpha}]\nk3s_agents = [{{ name = "alpha", host = "b" }}]', False),
        ("k3s_servers = [{alpha}, {delta}]", False),
        ('k3s_servers = [{{ name = "a", host = "-oProxyCommand=id" }}]', False),
        ('k3s_servers = [{{ name = "a", host = "b", user = "-l" }}]', False),
        ('k3s_servers = [{{ name = "a", host = "b", port = 22.5 }}]', False),
        ('k3s_servers = [{{ name = "a", host = "b", external_address = "10.0.0.256" }}]', False),
        ('k3s = {{ snapshot = {{ schedule = "0 0 * *" }} }}', False),
    ],
)
def test_nodes_that_make_no_cluster_are_refused_by_both(
    *,
    text: str,
    is_read: bool,
    subjects: dict[str, Subject],
    project: Project,
    evaluate: Evaluate,
    tmp_path: Path,
) -> None:
    components = json.dumps(project.infra.components)
    path = tmp_path / "infra.tfvars"
    sound = f'environment = "infra"\nenv_prefix = ""\nbase_domain = "example.com"\ncomponents = {components}\n'
    sound += f'telemetry = {{ environment = "{project.infra.telemetry.environment}" }}\n'
    path.write_text(f"{sound}{text.format(**NODES)}\n", encoding="utf-8")
    assert is_read_alike(subjects["infra"], path, evaluate) == is_read
    if not is_read:
        with pytest.raises(Refused):
            subjects["infra"].planned(path, evaluate)
