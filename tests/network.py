"""The network flows and the pods in them: what tests/test_network.py proves, docs/decisions/security.md says.

An allowed way that is not in the table fails a test, and so does one of the table that is closed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.flows import ANY_ADDRESS, End, Network

OTHER, SOLVER, CLIENT, APPLICATION = "any other pod", "ACME challenge", "client of Vault", "any pod"
_EVERYWHERE = {OTHER: {}, SOLVER: {"acme.cert-manager.io/http01-solver": "true"}}
_ENVIRONMENT = {**_EVERYWHERE, CLIENT: {"strata/vault": "client"}}
_SIGNOZ = {"signoz": "signoz", "signoz-otel-collector": "otel-collector"}
_SIGNOZ |= {"signoz-telemetrystore-migrator": "signoz-telemetrystore-migrator"}

# PostHog's pods by their component, each with what it calls in its own namespace, and its own port. Where PostHog is,
# all of this is.
_POSTHOG: Mapping[str, tuple[str, str]] = {
    "web": (
        "capture clickhouse feature-flags kafka objects personhog-router plugins recording-api redis replay-capture",
        "8000",
    ),
    "worker": (
        "capture clickhouse feature-flags kafka objects personhog-router plugins recording-api redis replay-capture",
        "",
    ),
    "capture": ("kafka redis", "3000"),
    "replay-capture": ("kafka redis", "3000"),
    "feature-flags": ("objects redis", "3001"),
    "hypercache-server": ("objects redis", "3002"),
    "ingestion-general": ("clickhouse kafka personhog-router redis valkey", ""),
    "ingestion-sessionreplay": ("kafka objects redis", ""),
    "property-defs": ("kafka", ""),
    "plugins": ("capture clickhouse kafka objects personhog-router redis valkey web", "6738"),
    "recording-api": ("clickhouse kafka objects redis", "6738"),
    "personhog-replica": ("", "50051"),
    "personhog-router": ("personhog-replica", "50052"),
    "topics": ("kafka", ""),
    "migrate": ("clickhouse kafka objects redis", ""),
    "migrations": ("", ""),
    "recordings": ("objects", ""),
    "kafka": ("", "9092"),
    "objects": ("", "8333"),
    "objects-backups": ("objects", ""),
    "redis": ("", "6379"),
    "valkey": ("", "6379"),
    "clickhouse": ("kafka", "8123, 9000"),
}
_OF_POSTGRES = (
    "feature-flags",
    "ingestion-general",
    "ingestion-sessionreplay",
    "migrate",
    "personhog-replica",
    "plugins",
    "property-defs",
    "recording-api",
    "web",
    "worker",
)
_OF_TRAEFIK = ("capture", "feature-flags", "hypercache-server", "plugins", "replay-capture", "web")

# The value of a label that differs from one setting to the next: a Postgres cluster's own name.
ANY_VALUE = "<name>"

# The pods of each namespace, mostly by the name of the object that makes them, with the labels that tell them apart.
PODS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "data-<environment>": {
        "postgres": {"cnpg.io/cluster": ANY_VALUE, "cnpg.io/podRole": "instance"},
        "postgres-pooler": {"cnpg.io/cluster": ANY_VALUE, "cnpg.io/podRole": "pooler"},
        "redis": {"app.kubernetes.io/name": "redis", "strata/redis": "server"},
        "redis-handover": {"app.kubernetes.io/name": "redis-handover"},
        "redis-master-discovery": {
            "app.kubernetes.io/name": "redis",
            "app.kubernetes.io/component": "master-discovery",
        },
        "redis-snapshots": {"app.kubernetes.io/name": "redis-snapshots"},
        **_ENVIRONMENT,
    },
    "monitoring-<environment>": {
        **{
            name: {"app.kubernetes.io/instance": "signoz", "app.kubernetes.io/component": component}
            for name, component in _SIGNOZ.items()
        },
        **{
            f"posthog-{component}": {"app.kubernetes.io/name": "posthog", "app.kubernetes.io/component": component}
            for component in _POSTHOG
        },
        **{
            name: {"app.kubernetes.io/name": "clickhouse", "app.kubernetes.io/instance": name}
            for name in ("posthog-clickhouse", "signoz-clickhouse")
        },
        **{
            name: {"app.kubernetes.io/name": name}
            for name in (
                "posthog-clickhouse-backups",
                "posthog-retention",
                "posthog-snapshots",
                "signoz-clickhouse-backups",
                "signoz-preferences",
                "signoz-snapshots",
            )
        },
        **_ENVIRONMENT,
    },
    "iac": {
        "atlantis": {"app": "atlantis"},
        "barman-cloud": {"app.kubernetes.io/name": "plugin-barman-cloud"},
        "cloudnative-pg": {"app.kubernetes.io/name": "cloudnative-pg"},
        "database": {"cnpg.io/cluster": "database", "cnpg.io/podRole": "instance"},
        "operators-ready": {"app.kubernetes.io/name": "operators-ready"},
        "vault": {"app.kubernetes.io/name": "vault", "component": "server"},
        "vault-agent-injector": {"app.kubernetes.io/name": "vault-agent-injector", "component": "webhook"},
        "vault-configure": {"app.kubernetes.io/name": "vault-configure"},
        "vault-snapshots": {"app.kubernetes.io/name": "vault-snapshots"},
        **_EVERYWHERE,
    },
    "kubernetes-dashboard": {"headlamp": {"app.kubernetes.io/name": "headlamp"}, **_EVERYWHERE},
    "kubero": {
        "kubero": {"app.kubernetes.io/name": "kubero"},
        "kubero-operator": {"app.kubernetes.io/name": "kubero-operator"},
        **_EVERYWHERE,
    },
    # Two pipelines of Kubero's; a namespace that each environment's `clients` and `applications` name; one of nobody's.
    "api-production": {APPLICATION: {}},
    "web-production": {APPLICATION: {}},
    "shop-<environment>": {APPLICATION: {}},
    "strange": {APPLICATION: {}},
    "kube-system": {
        "coredns": {"k8s-app": "kube-dns"},
        "traefik": {"app.kubernetes.io/name": "traefik"},
        "cert-manager": {"app.kubernetes.io/name": "cert-manager", "app.kubernetes.io/component": "controller"},
        **{
            f"k8s-infra-{component}": {
                "app.kubernetes.io/name": "k8s-infra",
                "app.kubernetes.io/component": component,
            }
            for component in ("otel-agent", "otel-deployment")
        },
        OTHER: {},
    },
}
# Namespaces that have no policies of ours.
OPEN = ("kube-system", "shop-<environment>", "strange")

DATA, MONITORING, SHOP = "data-<environment>", "monitoring-<environment>", "shop-<environment>"
EVERY_NAMESPACE = "every namespace of Strata's"
_AGENT, _SCRAPER = "k8s-infra-otel-agent", "k8s-infra-otel-deployment"
# Infra's, which names one environment.
OBSERVED = "telemetry.environment"
_BUCKET, _NO_BUCKET = "backups.bucket", "no backups.bucket"
INTERNET = "22, 443, 465, 587, 4317, 4318, 5432, 6379, 8200, 26379"


@dataclass(frozen=True)
class Way:
    """A way from pods to pods; `only_with` is the setting that it needs, or `no` and one that closes it."""

    source: str
    target: str
    ports: str
    only_with: str = ""

    def is_open(self, *, everything: bool, is_observed: bool) -> bool:
        """Tell whether it is there with every setting given, or with none; infra observes one environment in any case.

        `is_observed` says whether that is this one.
        """
        if self.only_with == OBSERVED:
            return is_observed
        return not self.only_with or everything != self.only_with.startswith("no ")


def _at(namespace: str, pods: str) -> str:
    return f"{namespace}: {pods}"


TABLE: Sequence[Way] = (
    Way(_at(EVERY_NAMESPACE, APPLICATION), _at("kube-system", "coredns"), "53, 53 UDP"),
    Way(_at("kube-system", "traefik"), _at(EVERY_NAMESPACE, SOLVER), "8089"),
    # Environments
    Way(_at(DATA, "postgres"), _at(DATA, "postgres"), "5432, 8000"),
    Way(_at(DATA, "postgres"), ANY_ADDRESS.name, "6443"),
    Way(_at(DATA, "postgres"), ANY_ADDRESS.name, "443", _BUCKET),
    # What selects a cluster's instances selects its poolers.
    Way(_at(DATA, "postgres"), _at(DATA, "postgres-pooler"), "5432, 8000"),
    Way(_at(DATA, "postgres-pooler"), _at(DATA, "postgres"), "5432, 8000"),
    Way(_at(DATA, "postgres-pooler"), _at(DATA, "postgres-pooler"), "5432, 8000"),
    Way(_at(DATA, "postgres-pooler"), ANY_ADDRESS.name, "6443"),
    Way(_at(DATA, "postgres-pooler"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at(DATA, "redis"), _at(DATA, "redis"), "6379, 26379"),
    Way(_at(DATA, "redis-handover"), ANY_ADDRESS.name, "6443"),
    Way(_at(DATA, "redis-master-discovery"), ANY_ADDRESS.name, "6443"),
    Way(_at(DATA, "redis-snapshots"), _at(DATA, "redis"), "6379"),
    Way(_at(DATA, "redis-snapshots"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at(DATA, "redis-snapshots"), ANY_ADDRESS.name, "6443", _NO_BUCKET),
    Way(_at(DATA, CLIENT), _at("iac", "vault"), "8200"),
    Way(_at(MONITORING, "signoz"), _at(MONITORING, "signoz-clickhouse"), "8123, 9000"),
    Way(_at(MONITORING, "signoz-otel-collector"), _at(MONITORING, "signoz"), "4320"),
    Way(_at(MONITORING, "signoz-otel-collector"), _at(MONITORING, "signoz-clickhouse"), "8123, 9000"),
    Way(_at(MONITORING, "signoz-otel-collector"), _at(DATA, "postgres"), "9187"),
    Way(_at(MONITORING, "signoz-otel-collector"), _at(DATA, "redis"), "9121"),
    Way(_at(MONITORING, "signoz"), ANY_ADDRESS.name, "443", "signoz.alerts.channel"),
    Way(_at(MONITORING, "signoz-clickhouse"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at(MONITORING, "signoz-clickhouse-backups"), _at(MONITORING, "signoz-clickhouse"), "9000"),
    Way(_at(MONITORING, "signoz-clickhouse-backups"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at(MONITORING, "signoz-clickhouse-backups"), ANY_ADDRESS.name, "6443", _NO_BUCKET),
    Way(_at(MONITORING, "signoz-preferences"), _at(MONITORING, "signoz"), "8080"),
    Way(_at(MONITORING, "signoz-snapshots"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at(MONITORING, "signoz-snapshots"), ANY_ADDRESS.name, "6443", _NO_BUCKET),
    Way(_at(MONITORING, "signoz-telemetrystore-migrator"), _at(MONITORING, "signoz-clickhouse"), "8123, 9000"),
    Way(_at(MONITORING, "posthog-clickhouse"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at(MONITORING, "posthog-clickhouse-backups"), _at(MONITORING, "posthog-clickhouse"), "9000"),
    Way(_at(MONITORING, "posthog-clickhouse-backups"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at(MONITORING, "posthog-clickhouse-backups"), ANY_ADDRESS.name, "6443", _NO_BUCKET),
    Way(_at(MONITORING, "posthog-retention"), _at(MONITORING, "posthog-clickhouse"), "9000"),
    Way(_at(MONITORING, "posthog-snapshots"), _at(DATA, "postgres"), "5432"),
    Way(_at(MONITORING, "posthog-snapshots"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at(MONITORING, "posthog-snapshots"), ANY_ADDRESS.name, "6443", _NO_BUCKET),
    Way(_at(MONITORING, "posthog-objects-backups"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at(MONITORING, "posthog-objects-backups"), ANY_ADDRESS.name, "6443", _NO_BUCKET),
    *(
        Way(_at(MONITORING, f"posthog-{caller}"), _at(MONITORING, f"posthog-{called}"), _POSTHOG[called][1])
        for caller, (calls, _) in _POSTHOG.items()
        for called in calls.split()
    ),
    *(Way(_at(MONITORING, f"posthog-{caller}"), _at(DATA, "postgres"), "5432") for caller in _OF_POSTGRES),
    # Webhooks and mail, and whatever destinations there are.
    Way(_at(MONITORING, "posthog-web"), ANY_ADDRESS.name, "443"),
    Way(_at(MONITORING, "posthog-worker"), ANY_ADDRESS.name, "443, 465, 587"),
    Way(_at(MONITORING, "posthog-plugins"), ANY_ADDRESS.name, "443"),
    Way(_at(MONITORING, "posthog-migrations"), ANY_ADDRESS.name, "6443"),
    *(
        Way(_at("kube-system", "traefik"), _at(MONITORING, f"posthog-{called}"), _POSTHOG[called][1])
        for called in _OF_TRAEFIK
    ),
    Way(_at(MONITORING, CLIENT), _at("iac", "vault"), "8200"),
    Way(_at("iac", "cloudnative-pg"), _at(DATA, "postgres"), "5432, 8000"),
    Way(_at("kube-system", "traefik"), _at(MONITORING, "signoz"), "8080"),
    Way(_at("kube-system", _AGENT), _at(MONITORING, "signoz-otel-collector"), "4317", OBSERVED),
    Way(_at("kube-system", _SCRAPER), _at(MONITORING, "signoz-otel-collector"), "4317", OBSERVED),
    # Namespaces of yours
    Way(_at(SHOP, APPLICATION), _at(DATA, "postgres"), "5432", "postgres.clients"),
    Way(_at(SHOP, APPLICATION), _at(DATA, "postgres-pooler"), "5432", "postgres.clients"),
    Way(_at(SHOP, APPLICATION), _at(DATA, "redis"), "6379", "redis.clients"),
    Way(_at(SHOP, APPLICATION), _at(DATA, "redis"), "26379", "redis.clients, redis.replicas"),
    Way(_at(SHOP, APPLICATION), _at(MONITORING, "signoz-otel-collector"), "4317, 4318", "signoz.clients"),
    Way(_at(SHOP, APPLICATION), _at("iac", "vault"), "8200", "tenants.<environment>.applications"),
    Way(_at(SHOP, APPLICATION), _at("iac", "database"), "5432", "database.databases.<name>.clients"),
    # The platform
    Way(_at("iac", "atlantis"), ANY_ADDRESS.name, "443, 6443"),
    Way(_at("kube-system", "traefik"), _at("iac", "atlantis"), "4141"),
    Way(_at("iac", "vault"), _at("iac", "vault"), "8200, 8201"),
    Way(_at("iac", "vault"), _at("iac", "database"), "5432"),
    Way(_at("iac", "vault"), ANY_ADDRESS.name, "6443"),
    Way(_at("kube-system", "traefik"), _at("iac", "vault"), "8200"),
    Way(_at("iac", "vault-configure"), _at("iac", "vault"), "8200"),
    Way(_at("iac", "vault-configure"), ANY_ADDRESS.name, "6443"),
    Way(ANY_ADDRESS.name, _at("iac", "vault-agent-injector"), "8080"),
    Way(_at("iac", "vault-agent-injector"), ANY_ADDRESS.name, "6443"),
    Way(_at("iac", "vault-snapshots"), _at("iac", "vault"), "8200"),
    Way(_at("iac", "vault-snapshots"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(_at("iac", "vault-snapshots"), ANY_ADDRESS.name, "6443", _NO_BUCKET),
    Way(_at("iac", "database"), _at("iac", "database"), "5432, 8000"),
    Way(_at("iac", "database"), ANY_ADDRESS.name, "6443"),
    Way(_at("iac", "database"), ANY_ADDRESS.name, "443", _BUCKET),
    Way(ANY_ADDRESS.name, _at("iac", "cloudnative-pg"), "9443"),
    Way(_at("iac", "cloudnative-pg"), _at("iac", "database"), "5432, 8000"),
    Way(_at("iac", "cloudnative-pg"), _at("iac", "barman-cloud"), "9090"),
    Way(_at("iac", "cloudnative-pg"), ANY_ADDRESS.name, "6443"),
    Way(_at("iac", "barman-cloud"), ANY_ADDRESS.name, "6443"),
    Way(_at("iac", "operators-ready"), ANY_ADDRESS.name, "6443"),
    Way(_at("kube-system", "traefik"), _at("kubernetes-dashboard", "headlamp"), "4466"),
    Way(_at("kubernetes-dashboard", "headlamp"), ANY_ADDRESS.name, "6443"),
    Way(_at("kubernetes-dashboard", "headlamp"), ANY_ADDRESS.name, "8443", "oidc.issuer"),
    Way(_at("kube-system", "traefik"), _at("kubero", "kubero"), "2000"),
    Way(_at("kubero", "kubero"), ANY_ADDRESS.name, "443, 6443"),
    Way(_at("kubero", "kubero-operator"), ANY_ADDRESS.name, "6443"),
    # The platform's own telemetry
    *(
        Way(_at("kube-system", _AGENT), target, ports)
        for target, ports in (
            (_at("kube-system", "coredns"), "53, 53 UDP"),
            (ANY_ADDRESS.name, "6443, 10250"),
        )
    ),
    *(
        Way(_at("kube-system", _SCRAPER), target, ports)
        for target, ports in (
            (_at("kube-system", "coredns"), "53, 53 UDP"),
            (ANY_ADDRESS.name, "6443"),
            (_at("kube-system", "cert-manager"), "9402"),
            (_at("kube-system", "traefik"), "9100"),
            (_at("iac", "atlantis"), "4141"),
            (_at("iac", "cloudnative-pg"), "8080"),
            (_at("iac", "database"), "9187"),
            (_at("iac", "vault"), "8202"),
        )
    ),
    # Kubero's pipelines, each within itself
    *(
        Way(source, target, ports, "kubero.namespaces")
        for pipeline in ("api-production", "web-production")
        for source, target, ports in (
            (_at(pipeline, APPLICATION), _at(pipeline, APPLICATION), "1-65535"),
            (_at(pipeline, APPLICATION), ANY_ADDRESS.name, INTERNET),
            (_at("kube-system", "traefik"), _at(pipeline, APPLICATION), "1-65535"),
        )
    ),
)


def ends_of(environment: str, network: Network) -> list[End]:
    """Return every pod of one environment and of the shared namespaces, and whoever is no pod."""
    found = [ANY_ADDRESS]
    for namespace, pods in PODS.items():
        place = namespace.replace("<environment>", environment)
        for name, labels in pods.items():
            found += [End(_at(namespace, name), place, each) for each in _with_values(labels, place, network)]
    return found


def _with_values(labels: Mapping[str, str], namespace: str, network: Network) -> Iterator[Mapping[str, str]]:
    """Yield labels with each value that the namespace's policies know where they may have any."""
    for key in (key for key, value in labels.items() if value == ANY_VALUE):
        for policy in network.policies:
            selected = policy["spec"].get("podSelector", {}).get("matchLabels") or {}
            if policy["metadata"]["namespace"] == namespace and key in selected:
                yield {**labels, key: selected[key]}
        return
    yield labels


def name_of(namespace: str, labels: Mapping[str, str], environment: str) -> str | None:
    """Return what the table calls a pod, seen from an environment: the one of whose labels it has most, if any."""
    place = next((own for own in PODS if own.replace("<environment>", environment) == namespace), None)
    if place is None:
        return None
    fitting = [
        name
        for name, wanted in PODS[place].items()
        if all(key in labels and value in (labels[key], ANY_VALUE) for key, value in wanted.items())
    ]
    return _at(place, max(fitting, key=lambda name: len(PODS[place][name])))


def expected(*, everything: bool, is_observed: bool, among: Iterable[End]) -> dict[tuple[str, str], set[str]]:
    """Return the table's ways between the pods `among`: with every setting, or with those that need none."""
    present = {end.name for end in among}
    ways: dict[tuple[str, str], set[str]] = {}
    for way in TABLE:
        if way.is_open(everything=everything, is_observed=is_observed):
            for source in _expanded(way.source):
                for target in _expanded(way.target):
                    if {source, target} <= present:
                        ways.setdefault((source, target), set()).update(way.ports.split(", "))
    return ways


def difference(found: Mapping[tuple[str, str], set[str]], wanted: Mapping[tuple[str, str], set[str]]) -> str:
    """Return in words where the ways that were found are not those of the table."""
    lines = []
    for pair in sorted({*found, *wanted}):
        ours, theirs = found.get(pair, set()), wanted.get(pair, set())
        if opened := ours - theirs:
            lines.append(f"{' -> '.join(pair)}: {', '.join(sorted(opened))} is open, and not in the table")
        if shut := theirs - ours:
            lines.append(f"{' -> '.join(pair)}: {', '.join(sorted(shut))} is in the table, and closed")
    return "\n".join(lines)


def _expanded(name: str) -> Iterator[str]:
    """Yield every pod that a row means."""
    namespace, _, pods = name.partition(": ")
    if namespace != EVERY_NAMESPACE:
        yield name
        return
    for own, names in PODS.items():
        if own not in OPEN:
            yield from (_at(own, each) for each in names if pods in (APPLICATION, each))


def markdown() -> str:
    """Return the table as docs/decisions/security.md has it."""
    rows = ["| from | to | ports | only with |", "|---|---|---|---|"]
    for way in TABLE:
        only_with = re.sub(r"[a-z]+\.[a-z_.<>]+", r"`\g<0>`", way.only_with)
        rows.append(f"| {_cell(way.source)} | {_cell(way.target)} | {way.ports} | {only_with} |".replace("  ", " "))
    return "\n".join(rows)


def _cell(name: str) -> str:
    namespace, _, pods = name.partition(": ")
    if not pods or namespace == EVERY_NAMESPACE:
        return name
    return f"`{namespace}`: {pods}"
