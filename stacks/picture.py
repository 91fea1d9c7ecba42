"""The picture of the architecture, docs/architecture-light.svg and -dark.svg: drawn of what the stacks hold.

Shared below, isolated above: `infra` is at the bottom, each environment stands on it by itself. What leads across are
the few ways that there are: a change, secrets, the cluster's telemetry, and backups.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from constructs.environment import Environment
from constructs.network_flow import VAULT_CLIENT
from stacks import atlantis, graph
from stacks.drawing import CODE, LARGE, PLAIN, STRONG, Box, Drawing, Ink, Surface
from stacks.project import GUARDED, INFRA, Project
from stacks.stack import StackSettings

Stack = Mapping[str, Any]

# What each system is called, and what it is, in as many words as a small box holds.
WORDS: Mapping[str, tuple[str, str]] = {
    "atlantis": ("Atlantis", "plans and applies"),
    "certificates": ("Certificates", "cert-manager"),
    "dashboard": ("Dashboard", "Headlamp"),
    "database": ("Platform database", "logins from Vault"),
    "dns": ("DNS", "external-dns"),
    "k3s": ("K3s", "servers and agents"),
    "kubero": ("Kubero", "applications"),
    "operators": ("Operators", "CloudNativePG"),
    "postgres": ("Postgres", "databases"),
    "posthog": ("PostHog", "product analytics"),
    "redis": ("Redis", "in memory"),
    "signoz": ("SigNoz", "logs, traces, metrics"),
    "telemetry": ("Telemetry", "of nodes and platform"),
    "tenancy": ("Tenancy", "quotas and policies"),
    "vault": ("Vault", "secrets"),
    "viewer": ("Viewer", "reads all but Secrets"),
}
_LAYERS: Mapping[Surface, str] = {"l4": "Insight", "l3": "Data", "l2": "Platform", "l1": "Bootstrap"}
_LOCK = "lock"

# The grid, in pixels. A cell is a system in its namespace's frame.
_WIDTH, _MARGIN, _GAP = 1052, 20, 16
_TAB = Box(_MARGIN + 12, 0, 72, 0)
_LEFT, _RIGHT = _TAB.right + 20, _WIDTH - _MARGIN - 12
_COLUMNS, _CELLS = 3, 4
_LABEL, _TALL, _SHORT, _PILL = 28, 74, 54, 26
_HEADER, _LANES = 64, 96
# How far below a row of environments each way to it runs.
_CHANGES, _SECRETS, _TELEMETRY = 36, 54, 70
_WIDE = 232


@dataclass(frozen=True)
class System:
    """A system as it is drawn: where it lies, and under which host name it answers; both may be empty."""

    name: str
    layer: Surface
    namespace: str
    host: str


@dataclass
class _Column:
    """An environment: what it holds, and where it was drawn."""

    environment: Environment
    systems: list[System]
    words: str
    needs: graph.Needs
    box: Box = field(default_factory=lambda: Box(0, 0, 0, 0))
    places: dict[str, Box] = field(default_factory=dict)


@dataclass
class _Sheet:
    """Where everything was drawn, for the ways between."""

    drawing: Drawing
    cluster: Box
    infra: Box
    shared: Mapping[str, Box]
    rows: Sequence[Sequence[_Column]]
    lanes: Sequence[float]
    """Where each row of environments ends, and the space for the ways to it begins."""


def systems_of(file: StackSettings, stack: Stack) -> list[System]:
    """Return the systems of a stack. Those that cannot be switched off are the cluster's, and have no namespace."""
    bodies = {f"{kind}.{name}": body for kind, named in stack["resource"].items() for name, body in named.items()}
    found = []
    for name, addresses in sorted(graph.systems(stack).groups.items()):
        if name == _LOCK:
            continue
        metadata = [body.get("metadata", body) for body in (bodies[address] for address in addresses)]
        namespaces = Counter(item.get("namespace", "") for item in metadata if "$" not in item.get("namespace", ""))
        hosts = [
            bodies[address]["metadata"]["name"] for address in addresses if address.startswith("kubernetes_ingress_v1.")
        ]
        host = ".".join(["-".join(filter(None, [file.env_prefix, *hosts[:1]])), file.base_domain]) if hosts else ""
        namespace = max(namespaces, key=namespaces.__getitem__) if name in file.components else ""
        layer: Any = graph.layer_of(name).split("_")[0]
        found.append(System(name, layer, namespace, host))
    return found


def draw(project: Project, stacks: Mapping[str, Stack]) -> Drawing:
    """Return the picture of a project whose stacks are synthesized, as parsed JSON by name."""
    drawing = Drawing(_WIDTH, "Strata: four layers on one K3s cluster, shared below, isolated above")
    shared = systems_of(project.infra, stacks[INFRA])
    columns = [_column(project, name, stacks[name]) for name in _in_order(project)]
    rows = list(_rows(columns))
    y = _MARGIN + 44.0
    gutter = 0 if len(rows) == 1 else 28
    lanes = []
    # The frame of the cluster lies behind all, and ends where the last thing in it does.
    drawing.frame(Box(0, 0, 0, 0), "cluster", "cluster", "cluster")
    for row in rows:
        y = _environments(drawing, row, y, _RIGHT - gutter, project)
        lanes.append(y)
        y += _LANES
    places, infra = _infra(drawing, project, shared, y)
    cluster = Box(_MARGIN, _MARGIN, _WIDTH - 2 * _MARGIN, infra.bottom + 28 - _MARGIN)
    drawing.frames[0] = replace(drawing.frames[0], box=cluster)
    drawing.write("One K3s cluster", _TAB.x, 47, STRONG, ink="muted", surface="cluster", room=cluster.inner(8))
    sheet = _Sheet(drawing, cluster, infra, places, rows, lanes)
    _stores(sheet)
    _secrets(sheet, set(_clients(stacks[INFRA])))
    _telemetry(sheet, project.infra.telemetry.environment)
    drawing.height = _changes(sheet, set(_deployers(stacks[INFRA]))) + _MARGIN
    drawing.description = " ".join(_description(project, shared, columns))
    return drawing


def _in_order(project: Project) -> Iterator[str]:
    """Yield the environments: those that a change is promoted through, then the others."""
    promotion = project.cdktf.context.promotion
    yield from promotion
    yield from (name for name in project.environments if name not in promotion)


def _column(project: Project, name: str, stack: Stack) -> _Column:
    file = project.environments[name]
    promotion = project.cdktf.context.promotion
    place = promotion.index(name) if name in promotion else None
    if place == 0:
        words = "planned by itself"
    elif place is not None:
        words = f"after {promotion[place - 1]}, reviewed"
    else:
        words = "reviewed" if atlantis.workflow(name, promotion) == GUARDED else "when asked for"
    environment = Environment(name, file.env_prefix)
    return _Column(environment, systems_of(file, stack), words, graph.systems(stack).needs)


def _rows(columns: Sequence[_Column]) -> Iterator[list[_Column]]:
    count = -(-len(columns) // _COLUMNS)
    each = -(-len(columns) // count) if count else 0
    for start in range(0, len(columns), each or 1):
        yield list(columns[start : start + each])


def _environments(drawing: Drawing, row: Sequence[_Column], y: float, right: float, project: Project) -> float:
    """Draw the environments of a row; return where they end."""
    width = (right - _LEFT - _GAP * (len(row) - 1)) // len(row)
    # What L4 has in L3 comes last in both, so that one is near the other.
    joined = {name for column in row for pair in _joined(column) for name in pair}
    slots = {
        layer: sorted(
            {system.name for column in row for system in column.systems if system.layer == layer},
            key=lambda name: (name in joined, name),
        )
        for layer in ("l4", "l3")
    }
    # The same system has the same place in each, so one that is off leaves its place empty.
    abreast = max(1, int(width - 2 * _GAP) // (_WIDE + 8))
    insight, data = y + _HEADER, 0.0
    lines = -(-len(slots["l4"]) // abreast)
    insight_height = _LABEL + max(lines, 1) * (_TALL + 8) + 2
    data = insight + insight_height + _GAP
    data_height = _LABEL + _SHORT + 10
    bottom = data + data_height + _PILL / 2 + 14
    for number, column in enumerate(row):
        environment = column.environment
        column.box = drawing.frame(
            Box(_LEFT + number * (width + _GAP), y, width, bottom - y), "stack", "stack", environment.name
        )
        box = column.box
        drawing.write(environment.name, box.x + _GAP, y + 31, LARGE, ink="text", surface="stack", room=box.inner(12))
        drawing.write(column.words, box.x + _GAP, y + 50, PLAIN, ink="muted", surface="stack", room=box.inner(12))
        layers: Sequence[tuple[Surface, float, float, str, int, int]] = (
            ("l4", insight, insight_height, environment.monitoring_namespace, abreast, _TALL),
            ("l3", data, data_height, environment.data_namespace, max(len(slots["l3"]), 1), _SHORT),
        )
        for layer, top, height, namespace, per_line, size in layers:
            frame = _namespace(drawing, Box(box.x + _GAP, top, width - 2 * _GAP, height), layer, namespace)
            wide = (frame.width - 20 - 8 * (per_line - 1)) / per_line
            for system in column.systems:
                if system.layer != layer:
                    continue
                line, place = divmod(slots[layer].index(system.name), per_line)
                area = Box(frame.x + 10 + place * (wide + 8), top + _LABEL + line * (size + 8), wide, size)
                column.places[system.name] = _system(drawing, system, area)
        bucket = project.environments[environment.name].backups.bucket
        if bucket:
            _bucket(drawing, bucket, box.right - _GAP, y, room=box)
    _tab(drawing, "l4", insight, insight_height)
    _tab(drawing, "l3", data, data_height)
    return bottom


def _infra(drawing: Drawing, project: Project, shared: Sequence[System], y: float) -> tuple[dict[str, Box], Box]:
    """Draw the shared layers; return where each system is, and the whole."""
    shelves = {layer: list(_shelves([item for item in shared if item.layer == layer])) for layer in ("l2", "l1")}
    heights = [(layer, _shelf_height(shelf)) for layer in ("l2", "l1") for shelf in shelves[layer]]
    total = _HEADER + 8 + sum(height for _, height in heights) + 10 * (len(heights) - 1) + 6 + _GAP
    box = drawing.frame(Box(_LEFT, y, _RIGHT - _LEFT, total), "stack", "stack", INFRA)
    drawing.write(INFRA, box.x + _GAP, y + 39, LARGE, ink="text", surface="stack", room=box.inner(12))
    words = "one stack that every environment stands on, reviewed"
    drawing.write(words, box.x + _GAP, y + 58, PLAIN, ink="muted", surface="stack", room=box.inner(12))
    if project.infra.backups.bucket:
        _bucket(drawing, project.infra.backups.bucket, box.right - _GAP, box.bottom, room=box)
    places: dict[str, Box] = {}
    cell = (box.width - 2 * 12) / _CELLS
    top = y + _HEADER + 8
    for layer in ("l2", "l1"):
        start = top
        for shelf in shelves[layer]:
            height, place = _shelf_height(shelf), 0
            for namespace, systems in shelf:
                area = Box(box.x + 12 + place * cell + 5, top, len(systems) * cell - 10, height)
                frame = _namespace(drawing, area, layer, namespace)
                for number, system in enumerate(systems):
                    own = Box(frame.x + 8 + number * cell, top + _LABEL, cell - 26, height - _LABEL - 10)
                    places[system.name] = _system(drawing, system, own)
                place += len(systems)
            top += height + 10
        if shelves[layer]:
            _tab(drawing, layer, start, top - 10 - start)
            top += 6
    return places, box


def _shelves(systems: Iterable[System]) -> Iterator[list[tuple[str, list[System]]]]:
    """Yield the namespaces of a layer with their systems, put onto as few shelves as they need, in their order."""
    by_namespace: dict[str, list[System]] = {}
    for system in sorted(systems, key=lambda item: (item.namespace == "", item.namespace, item.name)):
        by_namespace.setdefault(system.namespace, []).append(system)
    shelves: list[list[tuple[str, list[System]]]] = []
    for namespace, items in by_namespace.items():
        for start in range(0, len(items), _CELLS):
            part = items[start : start + _CELLS]
            fitting = (shelf for shelf in shelves if sum(len(found) for _, found in shelf) + len(part) <= _CELLS)
            shelf = next(fitting, None)
            if shelf is None:
                shelves.append(shelf := [])
            shelf.append((namespace, part))
    yield from shelves


def _shelf_height(shelf: Sequence[tuple[str, list[System]]]) -> int:
    has_host = any(system.host for _, systems in shelf for system in systems)
    return _LABEL + (_TALL if has_host else _SHORT) + 10


def _tab(drawing: Drawing, layer: Surface, y: float, height: float) -> None:
    """Draw the name of a layer beside what lies in it."""
    box = drawing.frame(Box(_TAB.x, y, _TAB.width, height), layer, "layer", layer)
    room, number, name = box.inner(2), layer.upper(), _LAYERS[layer]
    middle = y + height / 2
    drawing.write(number, box.middle, middle - 2, LARGE, ink="text", surface=layer, room=room, anchor="middle")
    drawing.write(name, box.middle, middle + 16, PLAIN, ink="muted", surface=layer, room=room, anchor="middle")


def _namespace(drawing: Drawing, box: Box, layer: Surface, namespace: str) -> Box:
    frame = drawing.frame(box, layer, "namespace" if namespace else "everywhere", namespace)
    words, style = (namespace, CODE) if namespace else ("in the whole cluster", PLAIN)
    drawing.write(words, box.x + 11, box.y + 19, style, ink="muted", surface=layer, room=box.inner(6))
    return frame


def _system(drawing: Drawing, system: System, box: Box) -> Box:
    drawing.frame(box, "system", "system", system.name)
    title, what = WORDS.get(system.name, (system.name, ""))
    room = box.inner(8)
    drawing.write(title, box.x + 10, box.y + 22, STRONG, ink="text", surface="system", room=room)
    drawing.write(what, box.x + 10, box.y + 41, PLAIN, ink="muted", surface="system", room=room)
    if system.host:
        drawing.write(system.host, box.x + 10, box.y + 60, CODE, ink="muted", surface="system", room=room)
    return box


def _pill(drawing: Drawing, words: str, box: Box, *, surface: Surface, kind: str, ink: Ink) -> Box:
    drawing.frame(box, surface, kind, words)
    drawing.write(words, box.middle, box.y + 17, CODE, ink=ink, surface=surface, room=box.inner(2), anchor="middle")
    return box


def _pill_at(words: str, x: float, y: float, limit: float) -> Box:
    """Return the box of a pill that begins at `x` and lies on the line `y`."""
    return Box(x, y - _PILL / 2, min(CODE.width(words) + 24, limit), _PILL)


def _bucket(drawing: Drawing, bucket: str, right: float, y: float, *, room: Box) -> None:
    words = f"backups to {bucket}"
    box = _pill_at(words, 0, y, room.width - 2 * _GAP)
    box = Box(right - box.width, box.y, box.width, box.height)
    _pill(drawing, words, box, surface="backup", kind="bucket", ink="backup")


def _stores(sheet: _Sheet) -> None:
    """Draw where L4 stands on L3."""
    for column in (column for row in sheet.rows for column in row):
        for above, below in _joined(column):
            x = column.places[below].middle
            sheet.drawing.lead("data", (x, column.places[below].y), (x, column.places[above].bottom))


def _secrets(sheet: _Sheet, clients: set[str]) -> None:
    """Draw the ways from Vault to the environments whose namespaces are `clients`."""
    if "vault" not in sheet.shared:
        return
    own, side = sheet.shared["vault"].right - 20, _RIGHT - 20
    top = None
    for number, (row, lane) in enumerate(zip(sheet.rows, sheet.lanes, strict=True)):
        taps = [column.box.right - 56 for column in row if set(column.environment.namespaces) & clients]
        if not taps:
            continue
        y = lane + _SECRETS
        top = y if top is None else top
        source = own if number == len(sheet.rows) - 1 else side
        sheet.drawing.lead("secret", (min(*taps, source), y), (max(*taps, source), y), has_arrow=False)
        for tap in taps:
            sheet.drawing.lead("secret", (tap, y), (tap, lane))
    if top is not None:
        y = sheet.lanes[-1] + _SECRETS
        aside = [] if top == y else [(side, y), (side, top)]
        sheet.drawing.lead("secret", (own, sheet.shared["vault"].y), (own, y), *aside, has_arrow=False)
        _say(sheet, "secrets, to pods that ask", own, "secret")


def _telemetry(sheet: _Sheet, observer: str) -> None:
    """Draw the way of the cluster's telemetry to the SigNoz of one environment."""
    found = [
        (lane, column)
        for row, lane in zip(sheet.rows, sheet.lanes, strict=True)
        for column in row
        if column.environment.name == observer and "signoz" in column.places
    ]
    if "telemetry" not in sheet.shared or not found:
        return
    lane, column = found[0]
    own, side, rail = sheet.shared["telemetry"].right - 20, _RIGHT - 8, column.box.right - 8
    target, y, last = column.places["signoz"], lane + _TELEMETRY, sheet.lanes[-1] + _TELEMETRY
    aside = [] if y == last else [(side, last), (side, y)]
    end = target.y + target.height / 2
    way = [(own, sheet.shared["telemetry"].y), (own, last), *aside, (rail, y), (rail, end), (target.right, end)]
    sheet.drawing.lead("telemetry", *way)
    _say(sheet, "logs and metrics", own, "telemetry")


def _say(sheet: _Sheet, words: str, right: float, ink: Ink) -> None:
    """Write what a way from the shared layers is, on its left."""
    y = sheet.lanes[-1] + 90
    room = Box(right - 208, y - 14, 200, 20)
    sheet.drawing.write(words, right - 8, y, PLAIN, ink=ink, surface="cluster", room=room, anchor="end")


def _changes(sheet: _Sheet, deployers: set[str]) -> float:
    """Draw the way of a change, from outside to the deployers of all stacks; return where it ends."""
    drawing, rail, server = sheet.drawing, _LEFT - 10, sheet.shared.get("atlantis")
    words = "pull request" if server else "make apply"
    below = sheet.cluster.bottom + 34
    source = _pill_at(words, server.x + 14 if server else rail + 60, below, 200)
    _pill(drawing, words, source, surface="change", kind="deployer", ink="on-change")
    who = "Atlantis applies it" if server else "it is applied"
    says = f"A change: {who} as its stack's deployer. An environment's may act in its own two namespaces alone."
    room = Box(source.right + 12, source.y, _WIDTH - _MARGIN - source.right - 12, _PILL)
    drawing.write(says, room.x + 2, source.y + 17, PLAIN, ink="muted", surface="page", room=room)
    if server:
        drawing.lead("change", (source.middle, source.y), (source.middle, server.bottom))
        start = (server.x, server.y + server.height / 2)
    else:
        start = (source.x, below)
    for number, (row, lane) in enumerate(zip(sheet.rows, sheet.lanes, strict=True)):
        y, is_last = lane + _CHANGES, number == len(sheet.rows) - 1
        middles = [
            _deployer(sheet, column.environment.name, column.box, lane, y)
            for column in row
            if f"deployer-{column.environment.name}" in deployers
        ]
        if is_last and f"deployer-{INFRA}" in deployers:
            middles.append(_deployer(sheet, INFRA, sheet.infra, sheet.infra.y, y))
        if middles:
            way = [start, (rail, start[1]), (rail, y)] if number == 0 else [(rail, y)]
            drawing.lead("change", *way, (max(middles), y), has_arrow=False)
    return source.bottom


def _deployer(sheet: _Sheet, stack: str, box: Box, edge: float, lane: float) -> float:
    """Draw a stack's deployer on the edge of the stack, and the way to it; return where that begins."""
    words = f"deployer-{stack}"
    pill = _pill_at(words, box.x + _GAP, edge, box.width - 112)
    x = box.x + _GAP + 64
    _pill(sheet.drawing, words, pill, surface="change", kind="deployer", ink="on-change")
    sheet.drawing.lead("change", (x, lane), (x, pill.bottom if edge < lane else pill.y))
    return x


def _joined(column: _Column) -> Iterator[tuple[str, str]]:
    """Yield the systems of L4 that stand on one of L3, each with that one."""
    layers = {system.name: system.layer for system in column.systems}
    for system, others in sorted(column.needs.items()):
        yield from ((system, name) for name in sorted(others) if (layers.get(system), layers.get(name)) == ("l4", "l3"))


def _clients(infra: Stack) -> Iterator[str]:
    """Yield the namespaces whose pods may read secrets in Vault."""
    for policy in infra["resource"].get("kubernetes_network_policy_v1", {}).values():
        if policy["spec"]["pod_selector"].get("match_labels") == VAULT_CLIENT:
            yield policy["metadata"]["namespace"]


def _deployers(infra: Stack) -> Iterator[str]:
    """Yield the accounts that infra makes; those of the stacks are among them."""
    for account in infra["resource"].get("kubernetes_service_account_v1", {}).values():
        yield account["metadata"]["name"]


def _description(project: Project, shared: Sequence[System], columns: Sequence[_Column]) -> Iterator[str]:
    """Yield the picture in sentences."""
    yield f"Below, shared: the stack infra with {_listed(shared)}."
    for column in columns:
        yield f"Above, by itself: the stack {column.environment.name} with {_listed(column.systems)}."
    yield "Nothing leads from one environment to another."
    if any(system.name == "atlantis" for system in shared):
        yield "A pull request is applied by Atlantis as the deployer of one stack."
    if any(system.name == "telemetry" for system in shared):
        yield f"Logs and metrics of the cluster go to the SigNoz of {project.infra.telemetry.environment}."


def _listed(systems: Sequence[System]) -> str:
    return ", ".join(
        f"{WORDS.get(item.name, (item.name, ''))[0]} ({item.namespace or 'the whole cluster'})" for item in systems
    )
