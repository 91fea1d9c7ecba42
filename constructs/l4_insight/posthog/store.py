"""A store: one server of PostHog's own, with a volume or without, that only those may call who are named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdktf import Fn, ITerraformDependable, TerraformLocal, TerraformResource, TerraformResourceLifecycle
from cdktf_cdktf_provider_kubernetes import stateful_set_v1 as workload
from cdktf_cdktf_provider_kubernetes.config_map_v1 import ConfigMapV1, ConfigMapV1Metadata
from cdktf_cdktf_provider_kubernetes.service_v1 import (
    ServiceV1,
    ServiceV1Metadata,
    ServiceV1Spec,
    ServiceV1SpecPort,
)

from constructs import Construct
from constructs.environment import Environment
from constructs.generated_secret import REVISION_ANNOTATION
from constructs.network_flow import Flow, NetworkFlow, Peer
from constructs.reference import Reference, escape, resolve, text
from constructs.settings import Sized

CONFIGURATION = "/configuration"
# A change of the files restarts the server.
_FILES_ANNOTATION = "strata/configuration"


@dataclass(frozen=True)
class Probe:
    """How a server is asked whether it serves: a path of one of its ports, or else a command in its container."""

    path: str = ""
    port: int = 0
    command: Sequence[str] = ()


@dataclass(frozen=True)
class Server:
    """The one container of a store. It finds `files` in /configuration, its volume at `data`.

    `writes` are the other folders that it writes to. `secrets` gives variables a key each of the Secret `secret`, whose
    `revision` restarts it. `once_started` is a script that sets what can only be asked of a server that runs; where it
    fails the container starts again.
    """

    image: str
    user: int
    command: Sequence[str]
    port: int
    probe: Probe
    files: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    secret: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    revision: int | Reference = 1
    data: str = "/data"
    writes: Sequence[str] = ("/tmp",)  # noqa: S108 (a volume of the pod's own)
    once_started: str = ""


def labels_of(component: str) -> dict[str, str]:
    """Return the labels of the pods of one of PostHog's components."""
    return {"app.kubernetes.io/name": "posthog", "app.kubernetes.io/component": component}


def name_of(component: str) -> str:
    """Return what the objects of one of PostHog's components are called: SigNoz has its own beside them."""
    return f"posthog-{component}"


class Store(Construct):
    """A StatefulSet and a Service `posthog-<component>`; without `storage` what it holds ends with its pod.

    It calls nobody.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        component: str,
        environment: Environment,
        server: Server,
        callers: Sequence[Peer],
        settings: Sized,
        storage: str | None,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, id_)
        name, namespace, pods = name_of(component), environment.monitoring_namespace, labels_of(component)
        files = {
            file: TerraformLocal(self, file.replace(".", "-"), content).as_string
            for file, content in server.files.items()
        }
        metadata = ConfigMapV1Metadata(name=name, namespace=namespace, labels=pods)
        config = [ConfigMapV1(self, "config", metadata=metadata, data=files)] if files else []
        service = ServiceV1(
            self,
            "service",
            metadata=ServiceV1Metadata(name=name, namespace=namespace, labels=pods),
            spec=ServiceV1Spec(
                selector=pods,
                port=[ServiceV1SpecPort(name=component, port=server.port, target_port=str(server.port))],
            ),
        )
        flow = NetworkFlow(
            self,
            "flow",
            name=name,
            namespace=namespace,
            pods=pods,
            callers=[Flow(peer, ports=(server.port,)) for peer in callers],
        )
        self.host = f"{name}.{namespace}.svc"
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
                            **({_FILES_ANNOTATION: Fn.sha256(Fn.join("", list(files.values())))} if files else {}),
                            **({REVISION_ANNOTATION: text(server.revision)} if server.secret else {}),
                        },
                    ),
                    spec=_pod(component, server, environment, settings, is_kept=storage is not None),
                ),
                volume_claim_template=[] if storage is None else [_claim(storage)],
            ),
            timeouts=workload.StatefulSetV1Timeouts(create="10m", update="10m"),
            # A changed size would replace the server, and not even resize the volume that it finds again.
            lifecycle=TerraformResourceLifecycle(ignore_changes=["spec[0].volume_claim_template"]),
            depends_on=[*config, service, flow.resource, *depends_on],
        )

    def only_where(self, condition: Reference) -> None:
        """Make all of it zero times where the condition does not hold."""
        for child in self.node.find_all():
            if isinstance(child, TerraformResource):
                child.add_override("count", f"${{{condition.expression} ? 1 : 0}}")


def _claim(storage: str) -> workload.StatefulSetV1SpecVolumeClaimTemplate:
    return workload.StatefulSetV1SpecVolumeClaimTemplate(
        metadata=workload.StatefulSetV1SpecVolumeClaimTemplateMetadata(name="data"),
        spec=workload.StatefulSetV1SpecVolumeClaimTemplateSpec(
            access_modes=["ReadWriteOnce"],
            resources=workload.StatefulSetV1SpecVolumeClaimTemplateSpecResources(requests={"storage": text(storage)}),
        ),
    )


def _pod(
    component: str, server: Server, environment: Environment, settings: Sized, *, is_kept: bool
) -> workload.StatefulSetV1SpecTemplateSpec:
    scratch = {path: f"scratch-{index}" for index, path in enumerate(server.writes)}
    config = {CONFIGURATION: "config"} if server.files else {}
    mounts = {**config, **scratch, **({server.data: "data"} if is_kept else {})}
    container = workload.StatefulSetV1SpecTemplateSpecContainer(
        name=component,
        image=server.image,
        command=list(server.command),
        env=_variables(server),
        port=[workload.StatefulSetV1SpecTemplateSpecContainerPort(name=component, container_port=server.port)],
        lifecycle=_once_started(server.once_started) if server.once_started else None,
        startup_probe=_STARTED.of(server.probe, every=5, failures=60),
        readiness_probe=_READY.of(server.probe, every=5, failures=3),
        liveness_probe=_ALIVE.of(server.probe, every=10, failures=6),
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
                name=volume, mount_path=path, read_only=volume == "config"
            )
            for path, volume in mounts.items()
        ],
    )
    return workload.StatefulSetV1SpecTemplateSpec(
        priority_class_name=environment.priority_class,
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=60,
        security_context=workload.StatefulSetV1SpecTemplateSpecSecurityContext(
            run_as_user=str(server.user),
            run_as_group=str(server.user),
            run_as_non_root=True,
            fs_group=str(server.user),
            fs_group_change_policy="OnRootMismatch",
            seccomp_profile=workload.StatefulSetV1SpecTemplateSpecSecurityContextSeccompProfile(type="RuntimeDefault"),
        ),
        container=[container],
        volume=[
            *(
                workload.StatefulSetV1SpecTemplateSpecVolume(
                    name=volume,
                    config_map=workload.StatefulSetV1SpecTemplateSpecVolumeConfigMap(name=name_of(component)),
                )
                for volume in config.values()
            ),
            *(
                workload.StatefulSetV1SpecTemplateSpecVolume(
                    name=volume, empty_dir=workload.StatefulSetV1SpecTemplateSpecVolumeEmptyDir()
                )
                for volume in scratch.values()
            ),
        ],
    )


def _variables(server: Server) -> list[workload.StatefulSetV1SpecTemplateSpecContainerEnv]:
    return [
        *(
            workload.StatefulSetV1SpecTemplateSpecContainerEnv(name=variable, value=text(value))
            for variable, value in server.variables.items()
        ),
        *(
            workload.StatefulSetV1SpecTemplateSpecContainerEnv(
                name=variable,
                value_from=workload.StatefulSetV1SpecTemplateSpecContainerEnvValueFrom(
                    secret_key_ref=workload.StatefulSetV1SpecTemplateSpecContainerEnvValueFromSecretKeyRef(
                        name=server.secret, key=key
                    )
                ),
            )
            for variable, key in server.secrets.items()
        ),
    ]


def _once_started(script: str) -> workload.StatefulSetV1SpecTemplateSpecContainerLifecycle:
    command = ["sh", "-c", escape(script)]
    return workload.StatefulSetV1SpecTemplateSpecContainerLifecycle(
        post_start=[
            workload.StatefulSetV1SpecTemplateSpecContainerLifecyclePostStart(
                exec=workload.StatefulSetV1SpecTemplateSpecContainerLifecyclePostStartExec(command=command)
            )
        ]
    )


@dataclass(frozen=True)
class _Question:
    """The structs of one of the three probes: cdktf names the same ones differently for each."""

    probe: Any
    http_get: Any
    command: Any

    def of(self, probe: Probe, *, every: int, failures: int) -> Any:  # noqa: ANN401 (one of three structs)
        """Return the probe, asked every so many seconds, with so many failures in a row allowed."""
        return self.probe(
            http_get=self.http_get(path=probe.path, port=str(probe.port)) if probe.path else None,
            exec=self.command(command=list(probe.command)) if probe.command else None,
            period_seconds=every,
            timeout_seconds=5,
            failure_threshold=failures,
        )


_STARTED = _Question(
    workload.StatefulSetV1SpecTemplateSpecContainerStartupProbe,
    workload.StatefulSetV1SpecTemplateSpecContainerStartupProbeHttpGet,
    workload.StatefulSetV1SpecTemplateSpecContainerStartupProbeExec,
)
_READY = _Question(
    workload.StatefulSetV1SpecTemplateSpecContainerReadinessProbe,
    workload.StatefulSetV1SpecTemplateSpecContainerReadinessProbeHttpGet,
    workload.StatefulSetV1SpecTemplateSpecContainerReadinessProbeExec,
)
_ALIVE = _Question(
    workload.StatefulSetV1SpecTemplateSpecContainerLivenessProbe,
    workload.StatefulSetV1SpecTemplateSpecContainerLivenessProbeHttpGet,
    workload.StatefulSetV1SpecTemplateSpecContainerLivenessProbeExec,
)
