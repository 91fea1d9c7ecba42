"""ClickHouse: one server with its Keeper inside, configured by files, for one application of L4."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from constructs.backups import BackupSettings
from constructs.endpoint import Endpoint
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.generated_secret import REVISION_ANNOTATION, GeneratedSecret, Password
from constructs.l4_insight import clickhouse_backups
from constructs.l4_insight.clickhouse_backups import (
    ClickHouseBackups,
    ClickHouseBackupSettings,
    address_of,
    backup_pods_of,
    host_of,
)
from constructs.l4_insight.clickhouse_server import (
    BACKUP_PASSWORD_VARIABLE,
    BACKUP_USER,
    BUCKET_VARIABLES,
    CLUSTER,
    FUNCTION_DEFINITIONS,
    FUNCTION_SCRIPTS,
    FUNCTIONS,
    HTTP_PORT,
    PASSWORD_VARIABLE,
    TCP_PORT,
    Configuration,
    bucket,
    pods_of,
    server,
    users,
)
from constructs.network_flow import Flow, NetworkFlow, Peer
from constructs.reference import Reference, expression, resolve, text
from constructs.settings import AtLeast, Cpu, Size, Sized

_PASSWORD_KEY = "password"  # noqa: S105 (a key's name)
_USER_ID = 101
_CONFIG = "/etc/clickhouse-server"
# Never more than the server asks for, which the pod's footprint then is.
_FUNCTIONS_RESOURCES = {"requests": {"cpu": "1m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
# The server starts without them, and says what does not work then.
_FUNCTIONS_SCRIPT = f"""
mkdir -p {FUNCTION_SCRIPTS} {FUNCTION_DEFINITIONS}
if cp -R "$SCRIPTS/." {FUNCTION_SCRIPTS} && chmod -R a+rX,go-w {FUNCTION_SCRIPTS} &&
   cp "$DEFINITIONS" {FUNCTION_DEFINITIONS}/application_function.xml; then
  echo "$(grep -c '<function>' {FUNCTION_DEFINITIONS}/application_function.xml) functions are there"
else
  echo "Not all of $SCRIPTS and $DEFINITIONS could be copied from this image. Without them: $WITHOUT" >&2
fi
"""


class ClickHouseSettings(Sized):
    """A ClickHouse server."""

    cpu: Cpu = "250m"
    memory: Annotated[Size, AtLeast(1024)] = "2Gi"
    storage: Size = "20Gi"
    """Size of its volume. A later change has no effect: K3s's local-path volumes do not grow."""
    backup: ClickHouseBackupSettings = ClickHouseBackupSettings()
    """When all databases are saved to the bucket of `backups`."""


@dataclass(frozen=True)
class Functions:
    """An application's own functions: programs of its image, which the server runs when a query calls them."""

    image: str
    scripts: str
    """The folder of the programs in the image."""
    definitions: str
    """The file there that says how each is called."""
    without: str
    """What does not work where they are missing."""


@dataclass(frozen=True)
class Application:
    """What an application wants of its server: a version, a user with a profile of settings, and who may call."""

    image: str
    user: str
    profile: Mapping[str, object]
    callers: Sequence[Peer]
    calls: Sequence[Flow] = ()
    """Whom the server calls, beside the bucket that it is saved to."""
    configuration: Configuration = field(default_factory=Configuration)
    functions: Functions | None = None


def footprints(name: str, settings: ClickHouseSettings, backups: BackupSettings) -> tuple[Footprint, ...]:
    """Return what the server asks for, and what has it saved."""
    return (
        footprint(name, settings.resources(), volumes=[settings.storage]),
        *clickhouse_backups.footprints(name, backups),
    )


class ClickHouse(Construct):
    """A StatefulSet `<name>` with the application's user, its password in the Secret `<name>`.

    Replicated tables and `ON CLUSTER` work, with one replica. Where `backups` names a bucket the server saves all
    databases to `folder` of it.
    """

    cluster = CLUSTER

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        environment: Environment,
        application: Application,
        backups: BackupSettings,
        folder: str,
        settings: ClickHouseSettings,
        credentials_revision: int,
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        pods = pods_of(name)
        auth = GeneratedSecret(
            self,
            "auth",
            name=name,
            namespace=namespace,
            passwords={_PASSWORD_KEY: Password()},
            revision=credentials_revision,
        )
        backup_auth = GeneratedSecret(
            self,
            "backup-auth",
            name=f"{name}-{BACKUP_USER}",
            namespace=namespace,
            passwords={_PASSWORD_KEY: Password()},
            revision=credentials_revision,
        )
        configuration = application.configuration
        files = {
            "server.yaml": self._file("server", server(settings.memory, configuration, host_of(backups))),
            "bucket.yaml": self._bucket_file(folder, backups),
            "users.yaml": self._file(
                "users", users(application.user, settings.memory, application.profile, configuration)
            ),
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
                    ServiceV1SpecPort(name="http", port=HTTP_PORT, target_port="http"),
                    ServiceV1SpecPort(name="tcp", port=TCP_PORT, target_port="tcp"),
                ],
            ),
        )
        NetworkFlow(
            self,
            "flow",
            name=name,
            namespace=namespace,
            pods=pods,
            callers=[
                *(Flow(peer, ports=(HTTP_PORT, TCP_PORT)) for peer in application.callers),
                Flow(Peer(pods=backup_pods_of(name)), ports=(TCP_PORT,)),
            ],
            calls=application.calls,
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
                    spec=_pod(name, application, _variables(auth, backup_auth, backups), environment, settings),
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
            depends_on=[auth.resource, backup_auth.resource, config, service],
        )
        host = f"{name}.{namespace}.svc"
        self.endpoint = Endpoint(host, TCP_PORT, secret=auth.name, password_key=_PASSWORD_KEY, user=application.user)
        ClickHouseBackups(
            self,
            "backups",
            name=name,
            environment=environment,
            image=application.image,
            endpoint=Endpoint(host, TCP_PORT, secret=backup_auth.name, password_key=_PASSWORD_KEY, user=BACKUP_USER),
            folder=folder,
            backups=backups,
            settings=settings.backup,
            depends_on=[self.resource],
        )

    def _file(self, id_: str, content: Mapping[str, object]) -> str:
        """Return a configuration file, rendered by Terraform."""
        return Fn.yamlencode(TerraformLocal(self, id_, resolve(content)).expression)

    def _bucket_file(self, folder: str, backups: BackupSettings) -> str:
        """Return the configuration file of the bucket: an empty one while there is none."""
        content = TerraformLocal(self, "bucket", resolve(bucket(address_of(folder, backups), backups.region)))
        reference = Reference(f"local.{content.friendly_unique_id}")
        chosen = expression("{} ? yamlencode({}) : yamlencode({{}})", backups.has_bucket(), reference)
        return TerraformLocal(self, "bucket-file", str(chosen)).as_string


def _variables(
    auth: GeneratedSecret, backup_auth: GeneratedSecret, backups: BackupSettings
) -> list[workload.StatefulSetV1SpecTemplateSpecContainerEnv]:
    """Return the server's variables. The bucket's may be missing: then nothing is saved, and the server runs."""
    own = {PASSWORD_VARIABLE: auth.name, BACKUP_PASSWORD_VARIABLE: backup_auth.name}
    secrets = {variable: (secret, _PASSWORD_KEY, False) for variable, secret in own.items()}
    secrets |= {variable: (text(backups.secret), key, True) for variable, key in BUCKET_VARIABLES.items()}
    return [
        workload.StatefulSetV1SpecTemplateSpecContainerEnv(name="CLICKHOUSE_WATCHDOG_ENABLE", value="0"),
        *(
            workload.StatefulSetV1SpecTemplateSpecContainerEnv(
                name=variable,
                value_from=workload.StatefulSetV1SpecTemplateSpecContainerEnvValueFrom(
                    secret_key_ref=workload.StatefulSetV1SpecTemplateSpecContainerEnvValueFromSecretKeyRef(
                        name=secret, key=key, optional=optional or None
                    )
                ),
            )
            for variable, (secret, key, optional) in secrets.items()
        ),
    ]


def _pod(
    name: str,
    application: Application,
    variables: list[workload.StatefulSetV1SpecTemplateSpecContainerEnv],
    environment: Environment,
    settings: ClickHouseSettings,
) -> workload.StatefulSetV1SpecTemplateSpec:
    mounts = {
        "/var/lib/clickhouse": ("data", None),
        f"{_CONFIG}/config.d/server.yaml": ("config", "server.yaml"),
        f"{_CONFIG}/config.d/bucket.yaml": ("config", "bucket.yaml"),
        f"{_CONFIG}/users.d/users.yaml": ("config", "users.yaml"),
        "/tmp": ("scratch", None),  # noqa: S108 (a volume of the pod's own)
    }
    if application.functions is not None:
        mounts[FUNCTIONS] = ("functions", None)
    container = workload.StatefulSetV1SpecTemplateSpecContainer(
        name="clickhouse",
        image=application.image,
        # Not the image's entry point: that one rewrites the users' files. It also switches the watchdog off.
        command=["clickhouse-server", f"--config-file={_CONFIG}/config.xml"],
        env=variables,
        port=[
            workload.StatefulSetV1SpecTemplateSpecContainerPort(name="http", container_port=HTTP_PORT),
            workload.StatefulSetV1SpecTemplateSpecContainerPort(name="tcp", container_port=TCP_PORT),
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
            # The provider would write `false` here, which undoes the pod's own.
            run_as_non_root=True,
            capabilities=workload.StatefulSetV1SpecTemplateSpecContainerSecurityContextCapabilities(drop=["ALL"]),
        ),
        volume_mount=[
            workload.StatefulSetV1SpecTemplateSpecContainerVolumeMount(
                name=volume, mount_path=path, sub_path=sub_path, read_only=volume in ("config", "functions")
            )
            for path, (volume, sub_path) in mounts.items()
        ],
    )
    host, functions = application.configuration.host, application.functions
    volumes = [
        workload.StatefulSetV1SpecTemplateSpecVolume(
            name="config",
            config_map=workload.StatefulSetV1SpecTemplateSpecVolumeConfigMap(name=name),
        ),
        *(
            workload.StatefulSetV1SpecTemplateSpecVolume(
                name=volume, empty_dir=workload.StatefulSetV1SpecTemplateSpecVolumeEmptyDir()
            )
            for volume in ("scratch", *(["functions"] if functions else []))
        ),
    ]
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
        # A cluster's host is local, and statements run on it, only if its address is the server's own.
        host_aliases=None
        if host == "localhost"
        else [workload.StatefulSetV1SpecTemplateSpecHostAliases(ip="127.0.0.1", hostnames=[host])],
        init_container=[_functions(functions)] if functions else None,
        container=[container],
        volume=volumes,
    )


def _functions(functions: Functions) -> workload.StatefulSetV1SpecTemplateSpecInitContainer:
    variables = {"SCRIPTS": functions.scripts, "DEFINITIONS": functions.definitions, "WITHOUT": functions.without}
    return workload.StatefulSetV1SpecTemplateSpecInitContainer(
        name="functions",
        image=functions.image,
        command=["/bin/sh", "-c", _FUNCTIONS_SCRIPT],
        env=[
            workload.StatefulSetV1SpecTemplateSpecInitContainerEnv(name=variable, value=value)
            for variable, value in variables.items()
        ],
        resources=workload.StatefulSetV1SpecTemplateSpecInitContainerResources(**resolve(_FUNCTIONS_RESOURCES)),
        security_context=workload.StatefulSetV1SpecTemplateSpecInitContainerSecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            run_as_non_root=True,
            capabilities=workload.StatefulSetV1SpecTemplateSpecInitContainerSecurityContextCapabilities(drop=["ALL"]),
        ),
        volume_mount=[
            workload.StatefulSetV1SpecTemplateSpecInitContainerVolumeMount(name="functions", mount_path=FUNCTIONS)
        ],
    )
