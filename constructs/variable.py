"""One model, three jobs: what a settings model says of its fields, as Terraform variables say it."""

import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from constructs.reference import Reference, literal, mebibytes, resolve
from constructs.settings import (
    Apart,
    AtLeast,
    Count,
    Form,
    NotAmong,
    NotBeginning,
    Settings,
    Together,
    Unique,
    is_settings,
    is_tuple_of,
    unwrap,
)

_SCALARS: dict[object, str] = {str: "string", int: "number", bool: "bool"}


@dataclass(frozen=True)
class Rule:
    """One thing that a value must satisfy: a Terraform condition, and the words for it."""

    key: str
    condition: str
    words: str


def terraform_type(annotation: Any) -> str:  # noqa: ANN401 (a type, of any kind)
    """Return the Terraform type of a field's type; an attribute that has a default is `optional()`."""
    annotation, _ = unwrap(annotation)
    if is_settings(annotation):
        fields = annotation.model_fields.items()
        return f"object({{ {', '.join(f'{name} = {_attribute_type(field)}' for name, field in fields)} }})"
    if typing.get_origin(annotation) is Literal:
        return _SCALARS[type(typing.get_args(annotation)[0])]
    if is_tuple_of(annotation):
        return f"list({terraform_type(typing.get_args(annotation)[0])})"
    if typing.get_origin(annotation) is dict:
        return f"map({terraform_type(typing.get_args(annotation)[1])})"
    return _SCALARS[annotation]


def default_value(field: FieldInfo) -> Any:  # noqa: ANN401 (a default, of the field's type)
    """Return a field's default as tfvars would write it, or `PydanticUndefined` where it has none."""
    if is_settings(field.annotation) and not field.is_required():
        return {}
    default = field.get_default(call_default_factory=True)
    return resolve(default.model_dump() if isinstance(default, Settings) else default)


def _attribute_type(field: FieldInfo) -> str:
    default = default_value(field)
    inner = terraform_type(field.annotation)
    return inner if default is PydanticUndefined else f"optional({inner}, {literal(default)})"


def rules(field: FieldInfo, key: str) -> Iterator[Rule]:
    """Yield the rules of the field `key`, the nested ones too, each on the whole Terraform variable."""
    yield from _rules(field.annotation, tuple(field.metadata), f"var.{key}", key, depth=0)


def _rules(annotation: Any, metadata: tuple[object, ...], value: str, key: str, *, depth: int) -> Iterator[Rule]:  # noqa: ANN401
    annotation, inner = unwrap(annotation)
    for constraint in (*metadata, *inner):
        yield from _constraint_rule(constraint, value, key)
    if is_settings(annotation):
        for needed in annotation.needs:
            for path in needed.fields:
                is_free = '== ""' if needed.value is None else f"!= {literal(needed.value)}"
                yield Rule(key, f'{value}.{needed.where} {is_free} || {value}.{path} != ""', needed.remedy(path))
        for name, field in annotation.model_fields.items():
            yield from _rules(field.annotation, tuple(field.metadata), f"{value}.{name}", f"{key}.{name}", depth=depth)
    elif typing.get_origin(annotation) is Literal:
        allowed = typing.get_args(annotation)
        yield Rule(key, f"contains({literal(allowed)}, {value})", f"give {listed(allowed)}")
    elif is_tuple_of(annotation):
        yield from _each(typing.get_args(annotation)[0], f"item{depth}", f"item{depth}", value, key, depth=depth)
    elif typing.get_origin(annotation) is dict:
        name_type, value_type = typing.get_args(annotation)
        names = f"name{depth}, item{depth}"
        yield from _each(name_type, names, f"name{depth}", value, key, depth=depth)
        yield from _each(value_type, names, f"item{depth}", value, f"{key}.*", depth=depth)
    elif annotation is int:
        yield Rule(key, f"floor({value}) == {value}", "give a whole number")


def _each(annotation: Any, names: str, item: str, value: str, key: str, *, depth: int) -> Iterator[Rule]:  # noqa: ANN401
    for rule in _rules(annotation, (), item, key, depth=depth + 1):
        yield Rule(rule.key, f"alltrue([for {names} in {value} : {rule.condition}])", rule.words)


def _constraint_rule(constraint: object, value: str, key: str) -> Iterator[Rule]:
    match constraint:
        case Form(pattern=pattern):
            yield Rule(key, f"can(regex({literal(f'^({pattern})$')}, {value}))", constraint.remedy())
        case AtLeast(mebibytes=least):
            size = literal(mebibytes(Reference(value)))
            yield Rule(key, f"try({size} >= {least}, true)", constraint.remedy())
        case NotBeginning(prefixes=prefixes):
            begins = " || ".join(f"startswith({value}, {literal(prefix)})" for prefix in prefixes)
            yield Rule(key, f"!({begins})", constraint.remedy())
        case NotAmong(names=names):
            yield Rule(key, f"!contains({literal(names)}, {value})", constraint.remedy())
        case Count(allowed=allowed):
            yield Rule(key, f"contains({literal((0, *allowed))}, length({value}))", constraint.remedy())
        case Unique(attribute=attribute):
            yield Rule(
                key,
                f"length(distinct([for item in {value} : item.{attribute}])) == length({value})",
                constraint.remedy(),
            )
        case Together(condition=condition):
            yield Rule(key, condition.format(value), constraint.remedy())
        case Apart():
            apart = f'alltrue([for other in keys({value}) : !startswith(name, format("%s-", other))])'
            yield Rule(key, f"alltrue([for name in keys({value}) : {apart}])", constraint.remedy())
        case _:
            yield from _limit_rule(constraint, value, key)


def _limit_rule(limit: object, value: str, key: str) -> Iterator[Rule]:
    match limit:
        case Ge(ge=least):
            yield Rule(key, f"{value} >= {least}", f"give at least {least}")
        case Le(le=most):
            yield Rule(key, f"{value} <= {most}", f"give at most {most}")
        case MinLen(min_length=least):
            yield Rule(key, f"length({value}) >= {least}", f"give at least {least} characters")
        case MaxLen(max_length=most):
            yield Rule(key, f"length({value}) <= {most}", f"give at most {most} characters")
        case _:
            message = f"{key}: no Terraform rule for the constraint {limit!r}"
            raise TypeError(message)


def listed(allowed: Sequence[object]) -> str:
    """Return allowed values as a person reads them: `"a", "b" or "c"`."""
    words = [literal(value) for value in allowed] or ["nothing"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
