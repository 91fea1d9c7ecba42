"""A row of the table becomes what Kubernetes runs: a Deployment, its Service and budget, and the ways in and out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes import deployment_v1 as workload
from cdktf_cdktf_provider_kubernetes import pod_disruption_budget_v1 as budget
from cdktf_cdktf_provider_kubernetes.service_v1 import (
    ServiceV1,
    ServiceV1Metadata,
    ServiceV1Spec,
    ServiceV1SpecPort,
)
from pydantic import Field, create_model

from constructs import Construct
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint, surge
from constructs.generated_secret import REVISION_ANNOTATION
from constructs.l4_insight.posthog.routes import PORTS
from constructs.l4_insight.posthog.services import BY_NAME, POSTGRES, SERVICES, Key, Service, callers_of
from constructs.l4_insight.posthog.services import Environment as Variables
from constructs.l4_insight.posthog.store import labels_of, name_of
from constructs.l4_insight.posthog.stores import Stores
from constructs.network_flow import ANYWHERE, TRAEFIK, Flow, NetworkFlow, Peer
from constructs.reference import Reference, expression, resolve, text
from constructs.settings import Cpu, Settings, Size, Sized
from constructs.versions import VERSIONS

SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}
_MAP_IMAGE, _MAP_FOLDER = "posthog-feature-flags", "/share"
_POSTGRES_USER = 26


class ServiceSettings(Sized):
    """The size of one of PostHog's services, and how many pods of it there are."""

    replicas: int = Field(default=1, ge=1, le=10)
    """How many pods there are; more than one are replaced one by one, also when a node is emptied."""


if TYPE_CHECKING:

    class ServicesSettings(Settings):
        """The sizes of the services, by their names with underscores."""
else:

    def _sized(row: Service) -> type[Settings]:
        """Return the model of a service's size, with the defaults of its row."""
        return create_model(
            f"{row.name.title().replace('-', '')}Settings",
            __base__=ServiceSettings,
            __doc__=f"The size of {row.name}.",
            cpu=(Cpu, Field(default=row.cpu, description=ServiceSettings.model_fields["cpu"].description)),
            memory=(Size, Field(default=row.memory, description=ServiceSettings.model_fields["memory"].description)),
        )

    ServicesSettings = create_model(
        "ServicesSettings",
        __base__=Settings,
        __doc__="The sizes of the services, by their names with underscores.",
        **{
            row.name.replace("-", "_"): (model, Field(default=model(), description=f"The size of {row.name}."))
            for row in SERVICES
            for model in [_sized(row)]
        },
    )


def size_of(services: ServicesSettings, row: Service) -> ServiceSettings:
    """Return the settings of a row."""
    return cast("ServiceSettings", getattr(services, row.name.replace("-", "_")))


def footprints(services: ServicesSettings) -> tuple[Footprint, ...]:
    """Return what the services ask for."""
    found = []
    for row in SERVICES:
        size = size_of(services, row)
        resources, pods = size.resources(), size.replicas
        init = [resources if row.image == "posthog" else SMALL]
        found.append(
            footprint(name_of(row.name), resources, init=init, pods=pods, at_times=surge(pods) if row.surges else 0)
        )
    return tuple(found)


# A variable and its value, in the order in which Kubernetes puts one into the next.
Pairs = list[tuple[str, str | Reference | Key]]


def pairs_of(stores: Stores, needs: Sequence[str], variables: Variables, site: Mapping[str, Reference]) -> Pairs:
    """Return all variables of a pod: first what differs between environments, then what is made of it."""
    base = [pair for need in needs if need in stores for pair in stores[need].variables.items()]
    return [*site.items(), *base, *variables.items()]


def address_of(stores: Stores, name: str) -> str:
    """Return the address at which a store or a service answers: a port, or a URL."""
    return str(stores[name].address) if name in stores else f"{name_of(name)}:{BY_NAME[name].port}"


def waits_of(stores: Stores, needs: Sequence[str]) -> list[str]:
    """Return the arguments of `WAIT`: the name and the address of each need."""
    return [f"{need}={address_of(stores, need)}" for need in needs]


def calls_of(stores: Stores, names: Sequence[str]) -> list[Flow]:
    """Return the ways to stores and services."""
    return [
        stores[name].flow
        if name in stores
        else Flow(Peer(pods=labels_of(name)), ports=(cast("int", BY_NAME[name].port),))
        for name in names
    ]


# Arguments: name=address, one after the other; an address is a URL, or a host and a port.
WAIT = """
import socket, sys, time, urllib.parse
for need in sys.argv[1:]:
    name, _, address = need.partition("=")
    url = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
    place = url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]
    while True:
        try:
            socket.create_connection(place, timeout=3).close()
            break
        except OSError as error:
            print(f"waiting for {name}, {place[0]}:{place[1]}: {error}", flush=True)
            time.sleep(5)
"""

# The first user is the last thing that the migrations make, so nobody can sign up as that one before.
WAIT_FOR_THE_SCHEMA = """
while :; do
  found="$(psql --no-psqlrc --tuples-only --no-align --command='SELECT 1 FROM posthog_user LIMIT 1' 2>&1)"
  if [ "$found" = 1 ]; then exit 0; fi
  if [ -z "$found" ]; then found='it has no owner yet'; fi
  echo "waiting for the Job posthog-migrate, and for the database posthog: $found"
  sleep 10
done
"""
_SCHEMA_VARIABLES: Variables = {
    "PGHOST": "$(POSTGRES_HOST)",
    "PGPASSWORD": "$(POSTGRES_PASSWORD)",
    "PGUSER": "posthog",
    "PGDATABASE": "posthog",
    "PGCONNECT_TIMEOUT": "5",
}
# An update runs the migrations of its own image first, but not for ever.
_WAIT_FOR_THE_IMAGE = """
until ./bin/migrate-check; do
  echo 'waiting for the Job posthog-migrate: this image has migrations that are not done'
  sleep 30
done
"""


class PostHogService(Construct):
    """The Deployment `posthog-<name>` of a row, which an apply does not wait for.

    Its pods wait by themselves, with words in their logs: for hours while Postgres is restored, and the first time
    until the migrations are done. An apply that waited would fail, or hold what is behind it.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        row: Service,
        environment: Environment,
        stores: Stores,
        site: Mapping[str, Reference],
        settings: ServiceSettings,
        revision: int,
        depends_on: Sequence[ITerraformDependable],
    ) -> None:
        super().__init__(scope, id_)
        name, namespace, pods = name_of(row.name), environment.monitoring_namespace, labels_of(row.name)
        flow = NetworkFlow(
            self,
            "flow",
            name=name,
            namespace=namespace,
            pods=pods,
            callers=_callers(row),
            calls=[
                *calls_of(stores, (*row.needs, *row.calls)),
                *([Flow(ANYWHERE, ports=row.outside)] if row.outside else []),
            ],
        )
        if row.port is not None:
            ServiceV1(
                self,
                "service",
                metadata=ServiceV1Metadata(name=name, namespace=namespace, labels=pods),
                spec=ServiceV1Spec(selector=pods, port=[ServiceV1SpecPort(port=row.port, target_port=str(row.port))]),
            )
        together = budget.PodDisruptionBudgetV1(
            self,
            "budget",
            metadata=budget.PodDisruptionBudgetV1Metadata(name=name, namespace=namespace, labels=pods),
            spec=budget.PodDisruptionBudgetV1Spec(
                max_unavailable="1", selector=budget.PodDisruptionBudgetV1SpecSelector(match_labels=pods)
            ),
        )
        together.add_override("count", str(expression("{} > 1 ? 1 : 0", settings.replicas)))
        self.resource = workload.DeploymentV1(
            self,
            "this",
            metadata=workload.DeploymentV1Metadata(name=name, namespace=namespace, labels=pods),
            spec=workload.DeploymentV1Spec(
                replicas=text(settings.replicas),
                strategy=workload.DeploymentV1SpecStrategy(
                    type="RollingUpdate",
                    rolling_update=workload.DeploymentV1SpecStrategyRollingUpdate(
                        max_surge="25%" if row.surges else "0%", max_unavailable="0" if row.surges else "1"
                    ),
                ),
                selector=workload.DeploymentV1SpecSelector(match_labels=pods),
                template=workload.DeploymentV1SpecTemplate(
                    metadata=workload.DeploymentV1SpecTemplateMetadata(
                        labels=pods, annotations={REVISION_ANNOTATION: text(revision)}
                    ),
                    spec=_pod(row, environment, stores, pairs_of(stores, row.needs, row.environment, site), settings),
                ),
            ),
            wait_for_rollout=False,
            depends_on=[flow.resource, *depends_on],
        )


def _callers(row: Service) -> list[Flow]:
    if row.port is None:
        return []
    peers = [Peer(pods=labels_of(name)) for name in callers_of(row.name)]
    return [Flow(peer, ports=(row.port,)) for peer in (*peers, *([TRAEFIK] if row.name in PORTS else []))]


def _pod(
    row: Service, environment: Environment, stores: Stores, variables: Pairs, settings: ServiceSettings
) -> workload.DeploymentV1SpecTemplateSpec:
    scratch = {path: f"scratch-{index}" for index, path in enumerate(row.writes)}
    mounts = {**scratch, **({_MAP_FOLDER: "share"} if row.has_map else {})}
    container = _container(
        "Container",
        row.name,
        image=row.image,
        command=row.command,
        variables=variables,
        resources=settings.resources(),
        mounts=mounts,
        more=_probes(row),
    )
    return workload.DeploymentV1SpecTemplateSpec(
        priority_class_name=environment.priority_class,
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=60,
        security_context=workload.DeploymentV1SpecTemplateSpecSecurityContext(
            run_as_user=str(row.user),
            run_as_group=str(row.user),
            run_as_non_root=True,
            fs_group=str(row.user),
            seccomp_profile=workload.DeploymentV1SpecTemplateSpecSecurityContextSeccompProfile(type="RuntimeDefault"),
        ),
        topology_spread_constraint=[
            workload.DeploymentV1SpecTemplateSpecTopologySpreadConstraint(
                max_skew=1,
                topology_key="kubernetes.io/hostname",
                when_unsatisfiable="ScheduleAnyway",
                label_selector=[
                    workload.DeploymentV1SpecTemplateSpecTopologySpreadConstraintLabelSelector(
                        match_labels=labels_of(row.name)
                    )
                ],
            )
        ],
        init_container=list(_init_containers(row, stores, variables, settings)),
        container=[container],
        volume=[
            workload.DeploymentV1SpecTemplateSpecVolume(
                name=volume, empty_dir=workload.DeploymentV1SpecTemplateSpecVolumeEmptyDir()
            )
            for volume in mounts.values()
        ],
    )


def _init_containers(
    row: Service, stores: Stores, variables: Pairs, settings: ServiceSettings
) -> Iterator[workload.DeploymentV1SpecTemplateSpecInitContainer]:
    yield _container(
        "InitContainer",
        "wait",
        image="python",
        command=("python3", "-c", WAIT, *waits_of(stores, row.needs)),
        resources=SMALL,
    )
    if POSTGRES in row.needs:
        yield _container(
            "InitContainer",
            "wait-for-the-schema",
            image="postgresql",
            user=_POSTGRES_USER,
            command=("bash", "-c", WAIT_FOR_THE_SCHEMA),
            variables=pairs_of(stores, (POSTGRES,), _SCHEMA_VARIABLES, {}),
            resources=SMALL,
        )
    if row.image == "posthog":
        yield _container(
            "InitContainer",
            "wait-for-the-image",
            image=row.image,
            command=("bash", "-c", _WAIT_FOR_THE_IMAGE),
            variables=variables,
            resources=settings.resources(),
            mounts={"/tmp": "scratch-0"},  # noqa: S108 (a volume of the pod's own)
        )
    if row.has_map:
        yield _container(
            "InitContainer",
            "map",
            image=_MAP_IMAGE,
            command=("cp", "/app/share/GeoLite2-City.mmdb", f"{_MAP_FOLDER}/"),
            resources=SMALL,
            mounts={_MAP_FOLDER: "share"},
        )


def _container(
    kind: Literal["Container", "InitContainer"],
    name: str,
    *,
    image: str,
    command: Sequence[str],
    resources: Mapping[str, object],
    variables: Pairs | None = None,
    mounts: Mapping[str, str] | None = None,
    user: int | None = None,
    more: Mapping[str, object] | None = None,
) -> Any:  # noqa: ANN401 (cdktf has the same structs twice)
    def struct(suffix: str) -> Any:  # noqa: ANN401
        return getattr(workload, f"DeploymentV1SpecTemplateSpec{kind}{suffix}")

    def variable(name: str, value: str | Reference | Key) -> Any:  # noqa: ANN401
        if not isinstance(value, Key):
            return struct("Env")(name=name, value=text(value))
        reference = struct("EnvValueFromSecretKeyRef")(name=text(value.secret), key=text(value.key))
        return struct("Env")(name=name, value_from=struct("EnvValueFrom")(secret_key_ref=reference))

    return struct("")(
        name=name,
        image=VERSIONS.images[image],
        command=list(command) or None,
        env=[variable(*pair) for pair in variables or []] or None,
        resources=struct("Resources")(**resolve(resources)),
        security_context=struct("SecurityContext")(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            run_as_user=str(user) if user is not None else None,
            # The provider would write `false` here, which undoes the pod's own.
            run_as_non_root=True,
            capabilities=struct("SecurityContextCapabilities")(drop=["ALL"]),
        ),
        volume_mount=[struct("VolumeMount")(name=volume, mount_path=path) for path, volume in (mounts or {}).items()]
        or None,
        **(more or {}),
    )


def _probes(row: Service) -> dict[str, object]:
    """Return the port, and three probes: ten minutes to start, since web takes four, and two without an answer."""
    prefix = "DeploymentV1SpecTemplateSpecContainer"
    ports = sorted({port for port in (row.port, row.health and row.health.port) if port})
    found: dict[str, object] = {"port": [getattr(workload, f"{prefix}Port")(container_port=port) for port in ports]}
    if row.health is None:
        return {**found, "port": found["port"] or None}
    for key, kind, path, period, failures in (
        ("startup_probe", "StartupProbe", row.health.alive, 10, 60),
        ("readiness_probe", "ReadinessProbe", row.health.ready, 10, 3),
        ("liveness_probe", "LivenessProbe", row.health.alive, 20, 6),
    ):
        question = getattr(workload, f"{prefix}{kind}HttpGet")(path=path, port=str(row.health.port))
        found[key] = getattr(workload, f"{prefix}{kind}")(
            http_get=question, period_seconds=period, timeout_seconds=5, failure_threshold=failures
        )
    return found
