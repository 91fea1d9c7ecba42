"""Kafka for PostHog: one Redpanda broker, what it keeps bounded by time and by size, never by the disk."""

import re
from collections.abc import Sequence
from typing import Annotated

from cdktf import Fn, TerraformLocal
from pydantic import Field

from constructs import Construct
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.l4_insight.posthog.store import CONFIGURATION, Probe, Server, Store, name_of
from constructs.network_flow import Peer
from constructs.reference import Reference, expression, mebibytes, resolve
from constructs.settings import AtLeast, Cpu, Size, Sized, Together, mebibytes_of
from constructs.versions import VERSIONS

_COMPONENT = "kafka"
_PORT = 9092
_ADMIN_PORT = 9644
# The user `redpanda` of the image.
_USER_ID = 101
_DATA = "/var/lib/redpanda/data"
_FOLDER = "/etc/redpanda"
_MEBIBYTE = 1024 * 1024
# The broker refuses more: PostHog has some 80 topics of one partition, and the broker itself needs a few.
PARTITIONS = 100
# The broker deletes whole files, so a partition has one more than what it keeps, and some room for the next.
_SEGMENT_MEBIBYTES = 16
_BESIDE_MEBIBYTES = 20
_FULL = 0.9
# Redpanda serves with 1 GiB or not at all, by its own count, which may be a little less than what it is given. A fifth
# of the container is for what it does not count.
_SHARE = 0.8


class KafkaSettings(Sized):
    """A Redpanda broker: what PostHog has captured, and not yet stored."""

    cpu: Cpu = "100m"
    memory: Annotated[Size, AtLeast(1344)] = "1536Mi"
    storage: Size = "20Gi"
    """Size of its volume. A later change has no effect: K3s's local-path volumes do not grow."""
    retention_hours: int = Field(default=72, ge=1, le=8760)
    """Hours after which an event is deleted, whether it was stored or not."""
    retention_size: Annotated[Size, AtLeast(16)] = "128Mi"
    """How much of each topic is kept; beyond it the oldest events are deleted. There are up to 100 topics."""


def _fits(settings: KafkaSettings) -> bool:
    kept = PARTITIONS * (mebibytes_of(settings.retention_size) + _BESIDE_MEBIBYTES)
    return kept <= _FULL * mebibytes_of(settings.storage)


def _fits_condition() -> str:
    """Return the same for Terraform, with `{0}` for the object."""
    settings = "SETTINGS"
    condition = expression(
        f"{PARTITIONS} * ({{0}} + {_BESIDE_MEBIBYTES}) <= {_FULL} * {{1}}",
        mebibytes(Reference(f"{settings}.retention_size")),
        mebibytes(Reference(f"{settings}.storage")),
    ).expression
    return re.sub("[{}]", r"\g<0>\g<0>", f"try({condition}, true)").replace(settings, "{0}")


BoundedKafka = Annotated[
    KafkaSettings,
    Together(
        _fits,
        _fits_condition(),
        f"give less of retention_size, or more storage: {PARTITIONS} topics of retention_size and {_BESIDE_MEBIBYTES}Mi"
        " must fit into 90% of it",
    ),
]


def footprints(settings: KafkaSettings) -> tuple[Footprint, ...]:
    """Return what the broker asks for."""
    return (footprint(name_of(_COMPONENT), settings.resources(), volumes=[settings.storage]),)


class Kafka(Construct):
    """A broker that makes a topic when somebody first writes to it, and tells its vendor nothing."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        callers: Sequence[Peer],
        settings: KafkaSettings,
    ) -> None:
        super().__init__(scope, id_)
        host = f"{name_of(_COMPONENT)}.{environment.monitoring_namespace}.svc"
        store = Store(
            self,
            "store",
            component=_COMPONENT,
            environment=environment,
            server=Server(
                image=VERSIONS.images["redpanda"],
                user=_USER_ID,
                command=["sh", "-c", _start(settings)],
                port=_PORT,
                probe=Probe(path="/v1/status/ready", port=_ADMIN_PORT),
                files={
                    "redpanda.yaml": Fn.yamlencode(TerraformLocal(self, "node", _node(host)).expression),
                    "properties.json": Fn.jsonencode(
                        TerraformLocal(self, "properties", resolve(_properties(settings))).expression
                    ),
                },
                variables={"HOME": "/tmp"},  # noqa: S108 (a volume of the pod's own)
                data=_DATA,
                writes=("/tmp", _FOLDER),  # noqa: S108 (a volume of the pod's own)
                once_started=_SET_PROPERTIES,
            ),
            callers=callers,
            settings=settings,
            storage=settings.storage,
        )
        self.resource = store.resource
        self.endpoint = Endpoint(host, _PORT, secret="", password_key="")


def _start(settings: KafkaSettings) -> str:
    """Return the script that starts the broker.

    `rpk` writes the file that it reads, so it gets a copy. What the broker reads before it first starts is what is set
    later, too. Without the checks of the machine it asks no cloud's metadata service.
    """
    memory = expression(f"floor({{}} * {_SHARE})", mebibytes(settings.memory))
    return (
        f"cp {CONFIGURATION}/redpanda.yaml {_FOLDER}/redpanda.yaml"
        f" && cp {CONFIGURATION}/properties.json {_FOLDER}/.bootstrap.yaml"
        f" && exec rpk redpanda start --smp=1 --overprovisioned --memory={memory}M --reserve-memory=0M --check=false"
    )


# A broker that has once run takes its properties from nowhere but here. JSON is what the address wants, and YAML too.
_SET_PROPERTIES = (
    f'{{ printf \'{{"remove":[],"upsert":\'; cat {CONFIGURATION}/properties.json; printf "}}"; }}'
    " | curl --fail-with-body --silent --show-error --retry 120 --retry-delay 2 --retry-connrefused --max-time 10"
    " --request PUT --header 'Content-Type: application/json' --data-binary @-"
    f" http://localhost:{_ADMIN_PORT}/v1/cluster_config"
)


def _node(host: str) -> dict[str, object]:
    """Return the broker's own file.

    Without it Redpanda is in developer mode, which says that an event is stored before the disk has it.
    """
    return {
        "redpanda": {
            "data_directory": _DATA,
            "developer_mode": False,
            "seed_servers": [],
            "rpc_server": {"address": "127.0.0.1", "port": 33145},
            "kafka_api": [{"name": "internal", "address": "0.0.0.0", "port": _PORT}],  # noqa: S104 (a pod's)
            "advertised_kafka_api": [{"name": "internal", "address": host, "port": _PORT}],
            "admin": [{"address": "0.0.0.0", "port": _ADMIN_PORT}],  # noqa: S104 (a pod's)
        },
        "rpk": {"overprovisioned": True},
    }


def _properties(settings: KafkaSettings) -> dict[str, object]:
    """Return the properties that bound what is kept; the broker's names."""
    segment = _SEGMENT_MEBIBYTES * _MEBIBYTE
    return {
        "enable_metrics_reporter": False,
        "auto_create_topics_enabled": True,
        "topic_partitions_per_shard": PARTITIONS,
        "retention_bytes": expression(f"{{}} * {_MEBIBYTE}", mebibytes(settings.retention_size)),
        "log_retention_ms": expression("{} * 3600000", settings.retention_hours),
        # What is written to is not deleted: so a quiet topic begins a new file every hour.
        "log_segment_ms": 3600000,
        "log_segment_size": segment,
        "compacted_log_segment_size": segment,
        "transaction_coordinator_log_segment_size": segment,
        "segment_fallocation_step": _MEBIBYTE,
        # Then it refuses to write; by default that is 5 GiB, of which a small volume has none.
        "storage_min_free_bytes": expression(f"floor({{}} * 0.05) * {_MEBIBYTE}", mebibytes(settings.storage)),
        "group_topic_partitions": 3,
        "transaction_coordinator_partitions": 1,
    }
