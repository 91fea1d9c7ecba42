"""Dashboards and alerts: those of dashboards/ are put into the SigNoz of an environment, each found by its name."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stacks.cluster import ClusterError
from stacks.environment import EnvironmentSettings
from stacks.project import Project, ProjectError, load
from stacks.signoz import SigNoz, SigNozError, session

_ROOT = Path(__file__).resolve().parent.parent
_FOLDER = "dashboards"
# What every environment's SigNoz can show, and what only the one can that infra's telemetry is sent to.
OF_ENVIRONMENTS, OF_THE_CLUSTER = "environment", "cluster"
# SigNoz refuses an update that takes more panels away.
_PANELS_AT_ONCE = 1

Values = dict[str, Any]


class DashboardsError(Exception):
    """What cannot be put into SigNoz; the message says why and what to do."""


@dataclass(frozen=True)
class Shipped:
    """The dashboards and alerts that are for one SigNoz, by their names."""

    dashboards: Mapping[str, Values]
    alerts: Mapping[str, Values]


@dataclass(frozen=True)
class Call:
    """A call of SigNoz' API."""

    method: str
    path: str
    body: Values | None = None


@dataclass(frozen=True)
class Change:
    """What is done to one dashboard or alert, in words; no calls: it is already so."""

    words: str
    calls: Sequence[Call] = field(default=())


def shipped(project: Project, environment: str) -> Shipped:
    """Return what is shipped for the SigNoz of an environment."""
    folders = [OF_ENVIRONMENTS]
    if "telemetry" in project.infra.components and project.infra.telemetry.environment == environment:
        folders.append(OF_THE_CLUSTER)
    places = [project.root / _FOLDER / folder for folder in folders]
    return Shipped(
        {item["title"]: item for place in places for item in _read(place)},
        {item["alert"]: item for place in places for item in _read(place / "alerts")},
    )


def _read(folder: Path) -> list[Values]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def changes(signoz: SigNoz, items: Shipped) -> Iterator[Change]:
    """Yield what is to be done, in the order of the names; nothing is done yet. Raises `SigNozError`."""
    found = signoz.call("GET", "/api/v1/dashboards") or []
    for name, content in sorted(items.dashboards.items()):
        yield _dashboard(name, content, [item for item in found if item["data"].get("title") == name])
    rules = signoz.call("GET", "/api/v2/rules") or []
    channels = {item["name"] for item in signoz.call("GET", "/api/v1/channels") or []}
    for name, content in sorted(items.alerts.items()):
        yield _alert(name, sent_to(content, channels), [item["id"] for item in rules if item["alert"] == name])


def _dashboard(name: str, content: Values, found: Sequence[Values]) -> Change:
    place = "/api/v1/dashboards"
    if not found:
        return Change(f"dashboard {name}: made", [Call("POST", place, content)])
    old = _only(name, found)
    if old["data"] == content:
        return Change(f"dashboard {name}: is as it should be")
    if old.get("locked"):
        message = f"dashboard {name}: it is locked. Unlock it in SigNoz, or give it another title to keep it"
        raise DashboardsError(message)
    gone = {panel["id"] for panel in old["data"].get("widgets", [])} - {panel["id"] for panel in content["widgets"]}
    if len(gone) > _PANELS_AT_ONCE:
        calls = [Call("DELETE", f"{place}/{old['id']}"), Call("POST", place, content)]
        return Change(f"dashboard {name}: made anew, under another address", calls)
    return Change(f"dashboard {name}: replaced", [Call("PUT", f"{place}/{old['id']}", content)])


def _alert(name: str, content: Values, found: Sequence[str]) -> Change:
    place = "/api/v2/rules"
    if not found:
        return Change(f"alert {name}: made", [Call("POST", place, content)])
    return Change(f"alert {name}: replaced", [Call("PUT", f"{place}/{_only(name, found)}", content)])


def _only(name: str, found: Sequence[Any]) -> Any:  # noqa: ANN401 (an item of the list, of its type)
    if len(found) > 1:
        message = f"{name}: SigNoz has {len(found)} of this name. Delete or rename all but one, and begin again"
        raise DashboardsError(message)
    return found[0]


def sent_to(alert: Values, channels: set[str]) -> Values:
    """Return an alert that is sent to those of its channels that are there, or to nobody.

    SigNoz refuses a channel that it does not have, and an alert without one unless policies decide where it goes.
    """
    copy: Values = json.loads(json.dumps(alert))
    thresholds = copy["condition"]["thresholds"]["spec"]
    for threshold in thresholds:
        threshold["channels"] = [name for name in threshold["channels"] if name in channels]
    if not all(threshold["channels"] for threshold in thresholds):
        copy["notificationSettings"]["usePolicy"] = True
    return copy


def put(signoz: SigNoz, items: Shipped, *, is_dry: bool) -> Iterator[str]:
    """Put the shipped dashboards and alerts into SigNoz, and yield a line for each. Raises `SigNozError`."""
    # All that stands in the way is found before anything is changed.
    for change in list(changes(signoz, items)):
        for call in () if is_dry else change.calls:
            signoz.call(call.method, call.path, call.body)
        yield change.words


def _settings(project: Project, name: str) -> EnvironmentSettings:
    with_signoz = [item for item, file in project.environments.items() if "signoz" in file.components]
    if name not in with_signoz:
        message = f"ENV={name}: give an environment that has SigNoz: {', '.join(with_signoz)}"
        raise DashboardsError(message)
    return project.environments[name]


def main(name: str) -> int:
    """Put the dashboards and alerts into the SigNoz of one environment; return the process's exit status.

    With the environment variable DRY_RUN nothing is changed.
    """
    is_dry = bool(os.environ.get("DRY_RUN"))
    try:
        project = load(_ROOT)
        with session(_settings(project, name)) as signoz:
            for line in put(signoz, shipped(project, name), is_dry=is_dry):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
    except (ClusterError, DashboardsError, ProjectError, SigNozError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if is_dry:
        sys.stdout.write("Nothing was changed: DRY_RUN.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
