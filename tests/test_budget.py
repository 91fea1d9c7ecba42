"""The budget: its table, the node that it asks for, and the settings that it refuses."""

import json
import re
from dataclasses import replace

import pytest

from constructs.footprint import Amount, total
from constructs.l2_platform.tenancy import DataQuota, MonitoringQuota, QuotaSettings
from stacks import budget, footprints
from stacks.project import Project
from stacks.quotas import refusals
from tests.support import ROOT


def test_the_table_is_readable_in_a_hundred_columns_and_has_every_room(project: Project) -> None:
    table = budget.render(project)
    assert max(map(len, table.splitlines())) <= 100
    titles = re.findall(r"^(\S+) \(L\d.*?\) +pods", table, re.MULTILINE)
    assert titles == ["infra", *(f"{room}-{name}" for name in project.environments for room in ("data", "monitoring"))]


def test_one_stack_is_printed_alone(project: Project) -> None:
    table = budget.render(project, "staging")
    assert "monitoring-staging" in table
    assert "prod" not in table
    assert "Nodes for all" not in table


def test_json_has_each_pod_and_the_same_sums(project: Project) -> None:
    rooms = json.loads(budget.document(project))
    for name, file in project.environments.items():
        for room, systems in footprints.of_environment(file).items():
            found = rooms[f"{room}-{name}"]
            assert set(found["systems"]) == set(systems)
            assert Amount(**found["at_most"]) == total(item.at_most() for asked in systems.values() for item in asked)
    assert rooms["infra"]["quota"] is None


def test_the_node_holds_what_all_ask_for_at_once(project: Project) -> None:
    rooms = json.loads(budget.document(project)).values()
    cores, memory, disk = map(int, re.findall(r"\d+", budget.node(project)))
    for given, unit, key in ((cores, 1000, "cpu"), (memory, 1024, "memory_limit"), (disk, 1024, "storage")):
        needed = sum(room["at_most"][key] for room in rooms)
        assert needed <= given * unit < needed + unit


def test_the_readme_says_which_node_the_shipped_files_need(project: Project) -> None:
    assert f"`make budget`: {budget.node(project)}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("room", ["data", "monitoring"])
def test_a_quota_is_refused_with_sums_that_add_up(room: str, project: Project) -> None:
    small = {"data": DataQuota(memory="1Mi"), "monitoring": MonitoringQuota(memory="1Mi", storage="1Ti")}
    quota = project.infra.quotas["prod"].model_copy(update={room: small[room]})
    infra = project.infra.model_copy(update={"quotas": {"prod": quota}})
    (line,) = refusals(infra, {"prod": project.environments["prod"]})
    words = rf'envs/infra.tfvars: quotas.prod.{room}.memory: found "1Mi"; {room}-prod needs (\S+) at most \((.+)\): '
    found = re.fullmatch(rf"{words}give at least (\S+), or ask for less in envs/prod\.tfvars", line)
    assert found
    assert found[1] == found[3]
    parts = [part.split(" ")[1] for part in found[2].split(", ")]
    assert sum(map(mebibytes, parts)) == mebibytes(found[1])


def test_a_quota_of_exactly_what_is_needed_is_enough_and_a_default_is_called_one(project: Project) -> None:
    file = project.environments["prod"]
    asked = footprints.of_environment(file)["data"]
    need = total(item.at_most() for found in asked.values() for item in found)
    exact = DataQuota(cpu=f"{need.cpu}m", memory=f"{need.memory_limit}Mi", storage=f"{need.storage}Mi", pods=need.pods)
    quota = project.infra.quotas["prod"]
    quotas = {"prod": quota.model_copy(update={"data": exact})}
    assert not list(refusals(project.infra.model_copy(update={"quotas": quotas}), {"prod": file}))
    larger = file.model_copy(update={"postgres": file.postgres.model_copy(update={"memory": "999Gi"})})
    quotas = {"prod": QuotaSettings(monitoring=quota.monitoring)}
    (line,) = refusals(project.infra.model_copy(update={"quotas": quotas}), {"prod": larger})
    assert line.startswith('envs/infra.tfvars: quotas.prod.data.memory: the default is "8Gi"; data-prod needs ')


def test_a_stack_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert budget.main(["nowhere"]) == 1
    assert "There is no stack nowhere: give ENV one of infra, " in capsys.readouterr().err


def test_amounts_are_added_and_taken_away() -> None:
    one = Amount(pods=1, cpu=2, memory=3, memory_limit=4, storage=5)
    assert one + one - one == one
    assert total([one, replace(one, cpu=8)]).cpu == 10


def mebibytes(size: str) -> int:
    return int(size[:-2]) * {"Mi": 1, "Gi": 1024}[size[-2:]]
