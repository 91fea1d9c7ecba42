"""ClickHouse: one server with its Keeper inside, configured by files, for one application of L4."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from cdktf import Fn, TerraformLocal, TerraformResourceLifecycle
from cdktf_cdktf_provider_kubernetes import stateful_set_v1 as workload
from cdktf_cdktf_provider_kubernetes.config_map_v1 import ConfigMapV1, ConfigMapV1Metadata
from cdktf_cdktf_provider_kubernetes.service_v1 import (
    ServiceV1,
    ServiceV1Metadata,
    ServiceV1Spec,
    ServiceV1SpecPort,
)

from constructs import Construct
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.generated_secret import REVISION_ANNOTATION, GeneratedSecret, Password
from constructs.network_flow import Flow, NetworkFlow, Peer
from constructs.reference import expression, mebibytes, resolve, text
from constructs.settings import AtLeast, Cpu, Size, Sized

_HTTP_PORT = 8123
_TCP_PORT = 9000
_PASSWORD_KEY = "password"  # noqa: S105 (a key's name)
_USER_ID = 101
_CONFIG = "/etc/clickhouse-server"

# How many days each of the server's logs about itself is kept: they would fill the volume otherwise. A section here
# switches its log on, so only those of the image's own config.xml; opentelemetry_span_log there has an engine, which
# forbids a ttl.
_LOG_DAYS = {
    "asynchronous_metric_log": 3,
    "error_log": 7,
    "latency_log": 3,
    "metric_log": 3,
    "part_log": 3,
    "processors_profile_log": 3,
    "query_log": 7,
    "query_metric_log": 3,
    "query_thread_log": 3,
    "query_views_log": 3,
    "text_log": 3,
    "trace_log": 3,
}


class ClickHouseSettings(Sized):
    """A ClickHouse server."""

    cpu: Cpu = "250m"
    memory: Annotated[Size, AtLeast(1024)] = "2Gi"
    storage: Size = "20Gi"
    """Size of its volume. A later change has no effect: K3s's local-path volumes do not grow."""


def footprints(name: str, settings: ClickHouseSettings) -> tuple[Footprint, ...]:
    """Return what the server asks for."""
    return (footprint(name, settings.resources(), volumes=[settings.storage]),)


class ClickHouse(Construct):
    """A StatefulSet `<name>` with the user `<user>`, its password in the Secret `<name>`.

    The cluster that `ON CLUSTER` names is called `cluster`; replicated tables work, with one replica.
    """

    cluster = "cluster"

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        environment: Environment,
        image: str,
        user: str,
        profile: Mapping[str, object],
        callers: Sequence[Peer],
        settings: ClickHouseSettings,
        credentials_revision: int,
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        pods = {"app.kubernetes.io/name": "clickhouse", "app.kubernetes.io/instance": name}
        auth = GeneratedSecret(
            self,
            "auth",
            name=name,
            namespace=namespace,
            passwords={_PASSWORD_KEY: Password()},
            revision=credentials_revision,
        )
        files = {
            "server.yaml": self._file("server", _server(settings)),
            "users.yaml": self._file("users", _users(user, profile)),
        }
        config = ConfigMapV1(
            self, "config", metadata=ConfigMapV1Metadata(name=name, namespace=namespace, labels=pods), data=files
        )
        service = ServiceV1(
            self,
            "service",
            metadata=ServiceV1Metadata(name=name, namespace=namespace, labels=pods),
            spec=ServiceV1Spec(
                selector=pods,
                port=[
                    ServiceV1SpecPort(name="http", port=_HTTP_PORT, target_port="http"),
                    ServiceV1SpecPort(name="tcp", port=_TCP_PORT, target_port="tcp"),
                ],
            ),
        )
        NetworkFlow(
            self,
            "flow",
            name=name,
            namespace=namespace,
            pods=pods,
            callers=[Flow(peer, ports=(_HTTP_PORT, _TCP_PORT)) for peer in callers],
        )
        self.resource = workload.StatefulSetV1(
            self,
            "this",
            metadata=workload.StatefulSetV1Metadata(name=name, namespace=namespace, labels=pods),
            spec=workload.StatefulSetV1Spec(
                replicas="1",
                service_name=name,
                selector=workload.StatefulSetV1SpecSelector(match_labels=pods),
                template=workload.StatefulSetV1SpecTemplate(
                    metadata=workload.StatefulSetV1SpecTemplateMetadata(
                        labels=pods,
                        annotations={
                            REVISION_ANNOTATION: text(credentials_revision),
                            "strata/configuration": Fn.sha256(Fn.join("", list(files.values()))),
                        },
                    ),
                    spec=_pod(name, image, auth.name, environment, settings),
                ),
                volume_claim_template=[
                    workload.StatefulSetV1SpecVolumeClaimTemplate(
                        metadata=workload.StatefulSetV1SpecVolumeClaimTemplateMetadata(name="data"),
                        spec=workload.StatefulSetV1SpecVolumeClaimTemplateSpec(
                            access_modes=["ReadWriteOnce"],
                            resources=workload.StatefulSetV1SpecVolumeClaimTemplateSpecResources(
                                requests={"storage": text(settings.storage)}
                            ),
                        ),
                    )
                ],
            ),
            timeouts=workload.StatefulSetV1Timeouts(create="10m", update="10m"),
            # A changed size would replace the server, and not even resize the volume that it finds again.
            lifecycle=TerraformResourceLifecycle(ignore_changes=["spec[0].volume_claim_template"]),
            depends_on=[auth.resource, config, service],
        )
        self.endpoint = Endpoint(
            host=f"{name}.{namespace}.svc", port=_TCP_PORT, secret=auth.name, password_key=_PASSWORD_KEY, user=user
        )

    def _file(self, id_: str, content: Mapping[str, object]) -> str:
        """Return a configuration file, rendered by Terraform."""
        return Fn.yamlencode(TerraformLocal(self, id_, resolve(content)).expression)


def _server(settings: ClickHouseSettings) -> dict[str, object]:
    """Return what differs from the image's own config.xml."""
    memory = mebibytes(settings.memory)
    logs = {log: {"ttl": f"event_date + INTERVAL {days} DAY DELETE"} for log, days in _LOG_DAYS.items()}
    logs["text_log"]["level"] = "information"
    return {
        "logger": {
            "level": "information",
            "console": True,
            "log": {"@remove": "1"},
            "errorlog": {"@remove": "1"},
        },
        "send_crash_reports": {"enabled": False},
        "async_load_databases": False,
        "max_server_memory_usage": expression("floor({} * 0.85) * 1048576", memory),
        "mark_cache_size": expression("floor({} * 0.1) * 1048576", memory),
        "index_mark_cache_size": expression("floor({} * 0.05) * 1048576", memory),
        "uncompressed_cache_size": 0,
        "macros": {"shard": "01", "replica": "0"},
        # By localhost, since SigNoz's migrator asks any other host as the user `default`, who is closed to the network.
        "remote_servers": {
            "@replace": "1",
            ClickHouse.cluster: {"shard": {"replica": {"host": "localhost", "port": _TCP_PORT}}},
        },
        "distributed_ddl": {"path": "/clickhouse/task_queue/ddl"},
        "zookeeper": {"node": {"host": "localhost", "port": 9181}},
        "keeper_server": {
            "tcp_port": 9181,
            "server_id": 1,
            "log_storage_path": "/var/lib/clickhouse/coordination/log",
            "snapshot_storage_path": "/var/lib/clickhouse/coordination/snapshots",
            "raft_configuration": {"server": {"id": 1, "hostname": "localhost", "port": 9234}},
        },
        **logs,
    }


def _users(user: str, profile: Mapping[str, object]) -> dict[str, object]:
    """Return the users: `user` from the network, and `default` from inside the pod only."""
    return {
        "profiles": {"default": dict(profile)},
        "users": {
            "default": {"networks": {"@replace": "1", "ip": ["127.0.0.1", "::1"]}},
            user: {
                "password": {"@from_env": "CLICKHOUSE_PASSWORD"},
                "networks": {"ip": "::/0"},
                "profile": "default",
                "quota": "default",
            },
        },
    }


def _pod(
    name: str, image: str, secret: str, environment: Environment, settings: ClickHouseSettings
) -> workload.StatefulSetV1SpecTemplateSpec:
    mounts = {
        "/var/lib/clickhouse": ("data", None),
        f"{_CONFIG}/config.d/server.yaml": ("config", "server.yaml"),
        f"{_CONFIG}/users.d/users.yaml": ("config", "users.yaml"),
        "/tmp": ("scratch", None),  # noqa: S108 (a volume of the pod's own)
    }
    container = workload.StatefulSetV1SpecTemplateSpecContainer(
        name="clickhouse",
        image=image,
        # Not the image's entry point: that one rewrites the users' files. It also switches the watchdog off.
        command=["clickhouse-server", f"--config-file={_CONFIG}/config.xml"],
        env=[
            workload.StatefulSetV1SpecTemplateSpecContainerEnv(name="CLICKHOUSE_WATCHDOG_ENABLE", value="0"),
            workload.StatefulSetV1SpecTemplateSpecContainerEnv(
                name="CLICKHOUSE_PASSWORD",
                value_from=workload.StatefulSetV1SpecTemplateSpecContainerEnvValueFrom(
                    secret_key_ref=workload.StatefulSetV1SpecTemplateSpecContainerEnvValueFromSecretKeyRef(
                        name=secret, key=_PASSWORD_KEY
                    )
                ),
            ),
        ],
        port=[
            workload.StatefulSetV1SpecTemplateSpecContainerPort(name="http", container_port=_HTTP_PORT),
            workload.StatefulSetV1SpecTemplateSpecContainerPort(name="tcp", container_port=_TCP_PORT),
        ],
        startup_probe=workload.StatefulSetV1SpecTemplateSpecContainerStartupProbe(
            http_get=workload.StatefulSetV1SpecTemplateSpecContainerStartupProbeHttpGet(path="/ping", port="http"),
            period_seconds=5,
            failure_threshold=60,
        ),
        readiness_probe=workload.StatefulSetV1SpecTemplateSpecContainerReadinessProbe(
            http_get=workload.StatefulSetV1SpecTemplateSpecContainerReadinessProbeHttpGet(path="/ping", port="http"),
            period_seconds=5,
        ),
        liveness_probe=workload.StatefulSetV1SpecTemplateSpecContainerLivenessProbe(
            http_get=workload.StatefulSetV1SpecTemplateSpecContainerLivenessProbeHttpGet(path="/ping", port="http"),
            period_seconds=10,
            timeout_seconds=5,
            failure_threshold=6,
        ),
        resources=workload.StatefulSetV1SpecTemplateSpecContainerResources(**resolve(settings.resources())),
        security_context=workload.StatefulSetV1SpecTemplateSpecContainerSecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=workload.StatefulSetV1SpecTemplateSpecContainerSecurityContextCapabilities(drop=["ALL"]),
        ),
        volume_mount=[
            workload.StatefulSetV1SpecTemplateSpecContainerVolumeMount(
                name=volume, mount_path=path, sub_path=sub_path, read_only=volume == "config"
            )
            for path, (volume, sub_path) in mounts.items()
        ],
    )
    return workload.StatefulSetV1SpecTemplateSpec(
        priority_class_name=environment.priority_class,
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=60,
        security_context=workload.StatefulSetV1SpecTemplateSpecSecurityContext(
            run_as_user=str(_USER_ID),
            run_as_group=str(_USER_ID),
            run_as_non_root=True,
            fs_group=str(_USER_ID),
            fs_group_change_policy="OnRootMismatch",
            seccomp_profile=workload.StatefulSetV1SpecTemplateSpecSecurityContextSeccompProfile(type="RuntimeDefault"),
        ),
        container=[container],
        volume=[
            workload.StatefulSetV1SpecTemplateSpecVolume(
                name="config",
                config_map=workload.StatefulSetV1SpecTemplateSpecVolumeConfigMap(name=name),
            ),
            workload.StatefulSetV1SpecTemplateSpecVolume(
                name="scratch", empty_dir=workload.StatefulSetV1SpecTemplateSpecVolumeEmptyDir()
            ),
        ],
    )
