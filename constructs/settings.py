"""Settings: the models that a tfvars file must satisfy, and the forms that their values may have."""

import itertools
import operator
import re
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Self, TypeGuard, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MEBIBYTES = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
# The error of a list that is wrong as a whole: its words alone are the sentence.
LIST_ERROR = "list_refused"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Needed:
    """Strings, by their paths, that must not be empty where the field `where` has one certain value, or any (None)."""

    where: str
    value: str | None
    fields: tuple[str, ...]

    def holds_for(self, found: str) -> bool:
        """Tell whether a value of the field `where` is one that needs them."""
        return found != "" if self.value is None else found == self.value

    def remedy(self, field: str) -> str:
        """Return what tells a person to give one of them."""
        reason = self.where if self.value is None else f'the {self.where} "{self.value}"'
        return f"give {field}, which {reason} needs"


class Settings(BaseModel):
    """The settings of one system: an object in a tfvars file, and the Terraform variable of the same name.

    Every field has a description. A field that is itself `Settings` defaults to that model's defaults, if to anything:
    so a default stands in one place only, beside its field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    needs: ClassVar[tuple[Needed, ...]] = ()
    """What one field needs of others. Terraform's side is in `constructs.variable`."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        missing = [
            needed.remedy(field)
            for needed in self.needs
            if needed.holds_for(getattr(self, needed.where))
            for field in needed.fields
            if not operator.attrgetter(field)(self)
        ]
        if missing:
            raise ValueError("; ".join(missing))
        return self


class Constraint(ABC, Generic[Value]):
    """What a value must satisfy beyond its type. Terraform's side of each kind is in `constructs.variable`."""

    @abstractmethod
    def holds(self, value: Value) -> bool:
        """Tell whether the value satisfies it."""

    @abstractmethod
    def remedy(self) -> str:
        """Return what tells a person to give something else."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: Value) -> Value:
        if not self.holds(value):
            raise self._error(value)
        return value

    def _error(self, value: Value) -> Exception:  # noqa: ARG002 (a list's error speaks of what was found in it)
        return ValueError(self.remedy())


@dataclass(frozen=True)
class Form(Constraint[str]):
    """The form of a string: an RE2 pattern for all of it, and the words for what has that form."""

    pattern: str
    words: str

    def holds(self, value: str) -> bool:
        """Tell whether all of the value matches the pattern."""
        return re.fullmatch(self.pattern, value, re.ASCII) is not None

    def remedy(self) -> str:
        """Return what tells a person to give something of this form."""
        return f"give {self.words}"


@dataclass(frozen=True)
class AtLeast(Constraint[str]):
    """The smallest size, in MiB, with which a system starts at all."""

    mebibytes: int

    def holds(self, value: str) -> bool:
        """Tell whether a size is large enough, if there is one."""
        return not value or mebibytes_of(value) >= self.mebibytes

    def remedy(self) -> str:
        """Return what tells a person to give more."""
        return f"give at least {self.mebibytes}Mi"


@dataclass(frozen=True)
class NotBeginning(Constraint[str]):
    """Prefixes that a name must not have, and the words for what to give instead."""

    prefixes: tuple[str, ...]
    words: str

    def holds(self, value: str) -> bool:
        """Tell whether a name has none of the prefixes."""
        return not value.startswith(self.prefixes)

    def remedy(self) -> str:
        """Return what tells a person to give another name."""
        return f"give {self.words}"


@dataclass(frozen=True)
class NotAmong(Constraint[str]):
    """Names that are taken, and by what."""

    names: tuple[str, ...]
    words: str

    def holds(self, value: str) -> bool:
        """Tell whether a name is not taken."""
        return value not in self.names

    def remedy(self) -> str:
        """Return what tells a person to give another name."""
        return f"give another name: {', '.join(self.names)} are {self.words}"


@dataclass(frozen=True)
class Count(Constraint[tuple[object, ...]]):
    """How many items a list may have beside none, and what another number of them cannot do."""

    allowed: tuple[int, ...]
    words: str

    def holds(self, value: tuple[object, ...]) -> bool:
        """Tell whether a list has one of the numbers of items."""
        return len(value) in (0, *self.allowed)

    def remedy(self) -> str:
        """Return what tells a person to give another number of items."""
        return f"give {self._numbers()}: any other number of {self.words}"

    def _numbers(self) -> str:
        *most, last = map(str, self.allowed)
        return f"{', '.join(most)} or {last}"

    def _error(self, value: tuple[object, ...]) -> Exception:
        return list_error(f"{len(value)} {self.words}; give {self._numbers()}")


@dataclass(frozen=True)
class Unique(Constraint[tuple[Any, ...]]):
    """The attribute in which all items of a list differ."""

    attribute: str

    def holds(self, value: tuple[Any, ...]) -> bool:
        """Tell whether no two items have the same."""
        return self._twice(value) is None

    def remedy(self) -> str:
        """Return what tells a person to give each once."""
        return f"give each {self.attribute} once"

    def _twice(self, value: tuple[Any, ...]) -> str | None:
        found = [str(getattr(item, self.attribute)) for item in value]
        return next((item for item in found if found.count(item) > 1), None)

    def _error(self, value: tuple[Any, ...]) -> Exception:
        return list_error(f'found the {self.attribute} "{self._twice(value)}" twice; {self.remedy()}')


@dataclass(frozen=True)
class Apart(Constraint[Mapping[str, Any]]):
    """Names of a map of which none begins with another and a dash, and why."""

    words: str

    def holds(self, value: Mapping[str, Any]) -> bool:
        """Tell whether no name begins with another."""
        return self._pair(value) is None

    def remedy(self) -> str:
        """Return what tells a person to give other names."""
        return f"give names of which none begins with another and a dash: {self.words}"

    def _pair(self, value: Mapping[str, Any]) -> tuple[str, str] | None:
        pairs = itertools.permutations(sorted(value), 2)
        return next(((name, other) for name, other in pairs if name.startswith(f"{other}-")), None)

    def _error(self, value: Mapping[str, Any]) -> Exception:
        name, other = self._pair(value) or ("", "")
        return list_error(f'found "{name}" beside "{other}"; {self.remedy()}')


@dataclass(frozen=True)
class Together(Constraint[Any]):
    """What fields of one object must satisfy together: as Python asks it, and as Terraform does of the object `{}`."""

    check: Callable[[Any], bool]
    condition: str
    words: str

    def holds(self, value: object) -> bool:
        """Tell whether the object satisfies it."""
        return self.check(value)

    def remedy(self) -> str:
        """Return what tells a person which of the fields to change."""
        return self.words


def list_error(words: str) -> PydanticCustomError:
    """Return the error of a list that is wrong as a whole."""
    return PydanticCustomError(LIST_ERROR, "{words}", {"words": words})


_LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_DOMAIN = r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_IPV4 = r"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV6 = "([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|([0-9a-f]{1,4}:){1,6}(:[0-9a-f]{1,4}){1,6}|([0-9a-f]{1,4}:){1,7}:"

Size = Annotated[str, Form("[1-9][0-9]{0,5}(Mi|Gi|Ti)", "a size such as 512Mi, 10Gi or 1Ti")]
OptionalSize = Annotated[str, Form("([1-9][0-9]{0,5}(Mi|Gi|Ti))?", 'a size such as 512Mi, 10Gi or 1Ti, or ""')]
Cpu = Annotated[str, Form("[1-9][0-9]{0,5}m?", "CPU cores such as 2, or thousandths such as 500m")]
Domain = Annotated[str, Form(_DOMAIN, "a domain such as example.com")]
Target = Annotated[
    str, Form(f"{_IPV4}|{_IPV6}|{_DOMAIN}", "an IP address such as 203.0.113.7, or a host name such as lb.example.com")
]
Prefix = Annotated[
    str, Form(f"({_LABEL})?", 'a prefix of lower-case letters, digits and dashes such as x-staging, or ""')
]
Name = Annotated[str, Form(_LABEL, "a name of lower-case letters, digits and dashes")]
OptionalName = Annotated[str, Form(f"({_LABEL})?", 'a name of lower-case letters, digits and dashes, or ""')]
ClientNamespace = Annotated[
    Name, NotBeginning(("data-", "monitoring-"), "a namespace of your own: environments never reach into each other")
]
Url = Annotated[str, Form(r"https://[A-Za-z0-9._~:/?#@!&'()*+,;=%-]+", "an address that begins with https://")]
Cron = Annotated[str, Form("[0-9*/,-]+( [0-9*/,-]+){4}", 'a schedule of five fields such as "0 */6 * * *"')]
Email = Annotated[
    str, Form(r"([A-Za-z0-9._+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,63})?", 'an e-mail address such as ops@example.com, or ""')
]


class Sized(Settings):
    """A system with a size: what each of its pods requests."""

    cpu: Cpu = "50m"
    """CPU that a pod requests; it may use more while there is more."""
    memory: Size = "128Mi"
    """Memory that a pod requests, and may use at most."""

    def resources(self) -> dict[str, dict[str, str]]:
        """Return a container's `resources` as charts take them. No limit on CPU: it would only throttle."""
        return {"requests": {"cpu": self.cpu, "memory": self.memory}, "limits": {"memory": self.memory}}


def mebibytes_of(size: str) -> int:
    """Return a size that ends in Mi, Gi or Ti in MiB."""
    return int(size[:-2]) * MEBIBYTES[size[-2:]]


def is_settings(annotation: object) -> TypeGuard[type[Settings]]:
    """Tell whether a field's type is a model of settings."""
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def mapping_value(annotation: object) -> type[Settings] | None:
    """Return M where a field's type is `dict[..., M]` of settings, else None."""
    if typing.get_origin(annotation) is dict:
        value = typing.get_args(annotation)[1]
        if is_settings(value):
            return value
    return None


def list_item(annotation: object) -> type[Settings] | None:
    """Return M where a field's type is `tuple[M, ...]` of settings, else None."""
    if is_tuple_of(annotation):
        item = typing.get_args(annotation)[0]
        if is_settings(item):
            return item
    return None


def unwrap(annotation: Any) -> tuple[Any, tuple[object, ...]]:  # noqa: ANN401 (a type, of any kind)
    """Return a type without `Annotated`, and what was annotated."""
    if typing.get_origin(annotation) is Annotated:
        inner, *metadata = typing.get_args(annotation)
        return inner, tuple(metadata)
    return annotation, ()


def is_tuple_of(annotation: object) -> bool:
    """Tell whether a type is `tuple[X, ...]`, the form of a list in settings."""
    return typing.get_origin(annotation) is tuple and typing.get_args(annotation)[1:] == (Ellipsis,)
