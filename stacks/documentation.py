"""docs/reference/settings.md: every key of every tfvars file, from the models that check them."""

from collections.abc import Iterator

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from constructs.reference import literal
from constructs.settings import Settings, is_settings, list_item, mapping_value
from constructs.variable import default_value, rules, terraform_type
from stacks.environment import EnvironmentSettings
from stacks.infra import InfraSettings

_HEADER = """\
<!-- Written by `make synth` from the settings models: do not edit. -->

# Settings

Every key of the files in `envs/`. A value can be changed without a new synthesis, except `components` and `env_prefix`.
Three variables never stand in a file, they are given on the command line: `enable_infra`, `kubeconfig`, `kube_context`.
"""


def render() -> str:
    """Return docs/reference/settings.md."""
    parts = [_HEADER]
    for title, model in (("envs/infra.tfvars", InfraSettings), ("envs/<environment>.tfvars", EnvironmentSettings)):
        parts.append(f"\n## {title}\n\n")
        parts.append("| key | type | default | what to give |\n|---|---|---|---|\n")
        parts.extend(f"| {' | '.join(cells)} |\n" for cells in _rows(model, ""))
    return "".join(parts)


def _rows(model: type[Settings], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        entry = mapping_value(field.annotation)
        item = list_item(field.annotation)
        if entry is not None:
            yield f"`{key}`", "map", "`{}`", _cell(field.description)
            yield from _rows(entry, f"{key}.<name>.")
        elif item is not None:
            yield f"`{key}`", "list of objects", _default(field), _whole(field, key)
            yield from _rows(item, f"{key}[].")
        elif is_settings(field.annotation):
            yield f"`{key}`", "object", "`{}`", _cell(field.description)
            yield from _rows(field.annotation, f"{key}.")
        else:
            yield f"`{key}`", terraform_type(field.annotation), _default(field), _what(field, key)


def _default(field: FieldInfo) -> str:
    default = default_value(field)
    return "required" if default is PydanticUndefined else f"`{literal(default)}`"


def _what(field: FieldInfo, key: str) -> str:
    return _described(field, [rule.words for rule in rules(field, key) if rule.words != "give a whole number"])


def _whole(field: FieldInfo, key: str) -> str:
    """Return what to give for a list, without what its items' own rows say."""
    return _described(field, [rule.words for rule in rules(field, key) if rule.key == key])


def _described(field: FieldInfo, words: list[str]) -> str:
    return _cell(" ".join([field.description or "", *(f"{word[0].upper()}{word[1:]}." for word in words)]))


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
