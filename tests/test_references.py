"""References stand for values that only Terraform knows: Python must not look into them."""

import operator
from collections.abc import Callable
from typing import Any

import pytest

from constructs.endpoint import port_of
from constructs.l3_data.redis import RedisSettings
from constructs.reference import (
    Reference,
    ReferenceMapping,
    ReferenceMisuseError,
    escape,
    expression,
    literal,
    mebibytes,
    view,
)
from constructs.settings import mebibytes_of
from stacks.infra import InfraSettings
from tests.support import Evaluate, Stack

REFERENCE: Any = view(RedisSettings, "var.redis").storage


@pytest.mark.parametrize(
    "use",
    [
        bool,
        int,
        float,
        len,
        list,
        operator.neg,
        lambda value: value == "1Gi",
        lambda value: value != "1Gi",
        lambda value: value > 1,
        lambda value: value <= 1,
        lambda value: value + 1,
        lambda value: 1 + value,
        lambda value: value * 2,
        lambda value: value / 2,
        lambda value: "Gi" in value,
        lambda value: value[0],
        lambda value: value.endswith("Gi"),
        lambda value: "yes" if value else "no",
    ],
)
def test_a_reference_refuses_what_needs_its_value(use: Callable[[Any], object]) -> None:
    with pytest.raises(ReferenceMisuseError, match=r"var\.redis\.storage is known at plan time only"):
        use(REFERENCE)


def test_a_view_has_a_template_for_every_field() -> None:
    settings = view(RedisSettings, "var.redis")
    assert f"{settings.storage}" == "${var.redis.storage}"
    assert f"{settings.resources()['limits']['memory']}" == "${var.redis.memory}"
    assert f"{settings.backup.keep_days}" == "${var.redis.backup.keep_days}"
    assert {str(value) for name, value in vars(settings).items() if name != "backup"} == {
        f"${{var.redis.{name}}}" for name in RedisSettings.model_fields if name != "backup"
    }


def test_an_entry_of_a_map_falls_back_to_its_models_defaults() -> None:
    quotas = view(InfraSettings, "var").quotas
    assert isinstance(quotas, ReferenceMapping)
    assert f"{quotas['prod'].data.pods}" == '${try(var.quotas["prod"].data.pods, 20)}'
    with pytest.raises(ReferenceMisuseError):
        list(quotas)
    with pytest.raises(ReferenceMisuseError):
        len(quotas)


def test_an_expression_takes_references_bare_and_values_as_literals() -> None:
    found = expression('join("-", [{}, {}])', REFERENCE, 'a "quoted" ${x}')
    assert isinstance(found, Reference)
    assert str(found) == '${join("-", [var.redis.storage, "a \\"quoted\\" $${x}"])}'


@pytest.mark.parametrize("value", [True, 0, -7, "", 'a"b\\c\nd', "${x} %{y} $${z}", ["a", 1], {"k": ["v"]}])
def test_a_literal_means_the_same_to_terraform(value: object, evaluate: Evaluate) -> None:
    stack: Stack = {"variable": {"kubeconfig": {}}}
    assert evaluate(stack, {"value": f"${{{literal(value)}}}"}) == {"value": value}
    if isinstance(value, str):
        assert evaluate(stack, {"value": escape(value)}) == {"value": value}


@pytest.mark.parametrize("size", ["1Mi", "512Mi", "3Gi", "2Ti"])
def test_python_and_terraform_count_mebibytes_alike(size: str, evaluate: Evaluate) -> None:
    stack: Stack = {"variable": {"kubeconfig": {}, "size": {}}}
    found = evaluate(stack, {"size": str(mebibytes(Reference("var.size")))}, size=size)
    assert found == {"size": mebibytes_of(size)}


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("https://s3.example.com", 443),
        ("http://s3.example.com", 80),
        ("https://s3.example.com:9000", 9000),
        ("https://sign-in.example.com:8443/realms/team:1", 8443),
        ("https://sign-in.example.com/realms/team:1", 443),
        ("", 443),
    ],
)
def test_an_address_without_a_port_has_its_schemes(address: str, port: int, evaluate: Evaluate) -> None:
    stack: Stack = {"variable": {"kubeconfig": {}}}
    assert evaluate(stack, {"port": str(port_of(address))}) == {"port": port}
