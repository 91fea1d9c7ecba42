"""References: what Python holds in place of a value that only Terraform will know.

A reference, or a plain value, goes
    into an expression              by `expression`, or `literal` for a part of one
    into chart values and files     as it is: `resolve` turns nested ones into templates
    into a typed struct of cdktf    by `text` or `number`, as the struct wants it
"""

import typing
from collections.abc import Iterator, Mapping
from typing import Any, Never, TypeVar

from cdktf import Token

from constructs.settings import Settings, is_settings, mapping_value

Model = TypeVar("Model", bound=Settings)


class ReferenceMisuseError(TypeError):
    """Python tried to look into a value that is known at plan time only."""


def _refuse(expression: str) -> Never:
    message = (
        f"{expression} is known at plan time only: Python cannot compare it, compute with it or test it. "
        f'Let Terraform do it: expression("{{}} > 1", settings.instances)'
    )
    raise ReferenceMisuseError(message)


class Reference:
    """A Terraform expression in the place of a setting's value.

    `str(reference)` is its template, `${var.redis.storage}`. Whatever would need the value itself raises
    `ReferenceMisuseError`: a comparison of cdktf's own tokens is silently false, arithmetic on them corrupts them.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def __str__(self) -> str:
        return f"${{{self.expression}}}"

    def __repr__(self) -> str:
        return f"Reference({self.expression!r})"

    __hash__ = object.__hash__

    def _refuse(self, *_: object) -> Never:
        _refuse(self.expression)

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __call__ = _refuse
    __int__ = __float__ = __index__ = __round__ = __neg__ = __abs__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __rmod__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __pow__ = __rpow__ = _refuse

    def __getattr__(self, name: str) -> Never:
        # Dunder look-ups are Python's own questions (copy, pickle, typing): they get Python's own answer.
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()


# The entry of a resource that is there once for each of a map's (`for_each`).
EACH_KEY = Reference("each.key")
EACH_VALUE = Reference("each.value")


class ReferenceMapping(Mapping[str, Any]):
    """A map whose keys are known at plan time only; an entry that is missing there has its model's defaults."""

    def __init__(self, expression: str, model: type[Settings]) -> None:
        self.expression = expression
        self._model = model

    def __str__(self) -> str:
        return f"${{{self.expression}}}"

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 (an entry of the map's own model)
        return view(self._model, f'{self.expression}["{key}"]', with_defaults=True)

    def __iter__(self) -> Iterator[str]:
        _refuse(self.expression)

    def __len__(self) -> int:  # noqa: PLE0303 (it has no length: it refuses)
        _refuse(self.expression)


def view(model: type[Model], path: str, *, with_defaults: bool = False) -> Model:
    """Return `model` with a reference to `path.<field>` as the value of every field.

    `with_defaults` is for a path that may not exist at plan time: each leaf then falls back to its field's default.
    """
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        child = f"{path}.{name}"
        if is_settings(field.annotation):
            values[name] = view(field.annotation, child, with_defaults=with_defaults)
        elif (item := mapping_value(field.annotation)) is not None:
            values[name] = ReferenceMapping(child, item)
        elif with_defaults:
            values[name] = Reference(f"try({child}, {literal(field.get_default(call_default_factory=True))})")
        else:
            values[name] = Reference(child)
    return typing.cast("Model", model.model_construct(**values))


def expression(template: str, *values: object) -> Reference:
    """Return `template` with each `{}` filled by a reference or a literal: `expression("{} > 1", instances)`."""
    return Reference(template.format(*(literal(value) for value in values)))


def mebibytes(size: object) -> Reference:
    """Return the number of MiB in a reference to a size that ends in Mi, Gi or Ti."""
    return expression(
        'tonumber(regex("^[0-9]+", {0})) * lookup({{ Mi = 1, Gi = 1024, Ti = 1048576 }}, regex("[MGT]i$", {0}))', size
    )


def literal(value: object) -> str:
    """Return a Python value in Terraform's syntax; a reference in it stands bare."""
    match value:
        case Reference() | ReferenceMapping():
            return value.expression
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _quoted(value)
        case list() | tuple():
            return f"[{', '.join(literal(item) for item in value)}]"
        case dict():
            return f"{{ {', '.join(f'{_quoted(key)} = {literal(item)}' for key, item in value.items())} }}"
        case Settings():
            return literal(value.model_dump())
        case _:
            message = f"no Terraform literal for {value!r}"
            raise TypeError(message)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escape(escaped)}"'


def escape(text: str) -> str:
    """Return `text` so that Terraform reads it as it stands, with no template in it."""
    return text.replace("${", "$${").replace("%{", "%%{")


def resolve(value: object) -> Any:  # noqa: ANN401 (the shape of chart values is the chart's)
    """Return nested dicts and lists with each reference in them as its template, for cdktf to write."""
    match value:
        case Reference() | ReferenceMapping():
            return str(value)
        case Mapping():
            return {key: resolve(item) for key, item in value.items()}
        case list() | tuple():
            return [resolve(item) for item in value]
        case _:
            return value


def number(value: float) -> float:
    """Return a number as cdktf's typed structs take it; a reference becomes a token of cdktf's own."""
    return Token.as_number(str(value)) if isinstance(value, Reference) else value


def text(value: object) -> str:
    """Return a value as cdktf's typed structs take a string; a reference becomes its template."""
    return literal(value) if isinstance(value, bool) else str(value)
