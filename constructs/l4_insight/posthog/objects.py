"""Objects of PostHog, recordings above all: SeaweedFS, which speaks S3, or a bucket of the team's own."""

from collections.abc import Sequence
from typing import Annotated

from constructs import Construct
from constructs.backups import BUCKET_KEYS, BackupSettings, BucketEndpoint, BucketName, Region
from constructs.environment import Environment
from constructs.footprint import Footprint, footprint
from constructs.generated_secret import GeneratedSecret, Password
from constructs.l4_insight.posthog import recordings
from constructs.l4_insight.posthog.recordings import RECORDINGS, Recordings, RecordingSettings
from constructs.l4_insight.posthog.store import Probe, Server, Store, labels_of, name_of
from constructs.network_flow import Flow, NetworkFlow, Peer
from constructs.reference import expression, mebibytes
from constructs.settings import AtLeast, Cpu, Name, Size, Sized
from constructs.versions import VERSIONS

_COMPONENT = "objects"
PORT = 8333
# The user `seaweed` of the image.
_USER_ID = 1000
BUCKET = "posthog"
_CREATE = f"s3.bucket.create -name {BUCKET}"
_REGION = "us-east-1"
_ID_KEY, _SECRET_KEY = BUCKET_KEYS
# All objects are in files of this size, which fill the volume, less a tenth, and no more. To free what was deleted the
# server writes a file anew, so the tenth must have room for one.
_FILE_MEBIBYTES = 256


class ObjectSettings(Sized):
    """SeaweedFS, or a bucket of your own, with which there is none."""

    cpu: Cpu = "50m"
    memory: Annotated[Size, AtLeast(256)] = "512Mi"
    storage: Annotated[Size, AtLeast(4096)] = "20Gi"
    """Size of its volume. A later change has no effect: K3s's local-path volumes do not grow."""
    recordings: RecordingSettings = RecordingSettings()
    """When recordings end."""
    bucket: BucketName = ""
    """A bucket of your own; empty: SeaweedFS."""
    endpoint: BucketEndpoint = ""
    """The address of your bucket's store; empty: Amazon's, of the region."""
    region: Region = _REGION
    """Your bucket's region."""
    secret: Name = "posthog-bucket"  # noqa: S105 (a Secret's name)
    """The Secret with the keys ACCESS_KEY_ID and ACCESS_SECRET_KEY; it must be there where a bucket is given."""


def footprints(settings: ObjectSettings) -> tuple[Footprint, ...]:
    """Return what SeaweedFS asks for, if there is one, and what ends recordings."""
    found = footprint(name_of(_COMPONENT), settings.resources(), volumes=[settings.storage])
    return (*(() if settings.bucket else (found,)), *recordings.footprints())


class Objects(Construct):
    """A bucket at `endpoint_url`; the keys `access_key_key` and `secret_key_key` of the Secret `secret` open it."""

    port = PORT
    access_key_key = _ID_KEY
    secret_key_key = _SECRET_KEY

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        callers: Sequence[Peer],
        settings: ObjectSettings,
        credentials_revision: int,
    ) -> None:
        super().__init__(scope, id_)
        namespace = environment.monitoring_namespace
        callers = [*callers, Peer(pods=RECORDINGS)]
        is_ours = expression('{} == ""', settings.bucket)
        auth = GeneratedSecret(
            self,
            "auth",
            name=name_of(_COMPONENT),
            namespace=namespace,
            passwords={_ID_KEY: Password(length=20), _SECRET_KEY: Password(length=40)},
            revision=credentials_revision,
        )
        auth.resource.add_override("count", f"${{{is_ours.expression} ? 1 : 0}}")
        store = Store(
            self,
            "store",
            component=_COMPONENT,
            environment=environment,
            server=Server(
                image=VERSIONS.images["seaweedfs"],
                user=_USER_ID,
                command=_command(settings),
                port=PORT,
                probe=Probe(path="/healthz", port=PORT),
                variables=_variables(settings),
                secret=auth.name,
                # By these names it knows the one identity that there is; nobody else may do anything.
                secrets={"AWS_ACCESS_KEY_ID": _ID_KEY, "AWS_SECRET_ACCESS_KEY": _SECRET_KEY},
                revision=credentials_revision,
                once_started=_MAKE_BUCKET,
            ),
            callers=callers,
            settings=settings,
            storage=settings.storage,
            depends_on=[auth.resource],
        )
        store.only_where(is_ours)
        self._open_ways(namespace, callers, settings)
        self.resource = store.resource
        ours = f"http://{store.host}:{PORT}"
        self.endpoint_url = expression(
            '{0} == "" ? {1} : {2} != "" ? {2} : format("https://s3.%s.amazonaws.com", {3})',
            settings.bucket,
            ours,
            settings.endpoint,
            settings.region,
        )
        self.bucket = expression('{0} == "" ? {1} : {0}', settings.bucket, BUCKET)
        self.region = expression('{} == "" ? {} : {}', settings.bucket, _REGION, settings.region)
        self.secret = expression('{} == "" ? {} : {}', settings.bucket, auth.name, settings.secret)
        Recordings(
            self,
            "recordings",
            environment=environment,
            calls=Flow(Peer(pods=labels_of(_COMPONENT)), ports=(PORT,)),
            bucket={
                "name": self.bucket,
                "endpoint": expression('{} == "" ? {} : {}', settings.bucket, ours, settings.endpoint),
                "region": self.region,
                "secret": self.secret,
            },
            settings=settings.recordings,
            depends_on=[store.resource],
        )

    def _open_ways(self, namespace: str, callers: Sequence[Peer], settings: ObjectSettings) -> None:
        """Let the callers of this namespace out to a bucket of the team's own, if there is one."""
        bucket = BackupSettings.model_construct(bucket=settings.bucket, endpoint=settings.endpoint)
        for peer in callers:
            if not peer.namespaces:
                component = peer.pods["app.kubernetes.io/component"]
                way = NetworkFlow(
                    self,
                    f"way-{component}",
                    name=f"{name_of(component)}-bucket",
                    namespace=namespace,
                    pods=peer.pods,
                    calls=[bucket.flow()],
                )
                way.resource.add_override("count", str(expression("{} ? 1 : 0", bucket.has_bucket())))


def _command(settings: ObjectSettings) -> list[str]:
    """Return the server's command: of all its parts only the one that speaks S3 is reached from outside the pod."""
    files = expression(f"floor({{}} * 0.9 / {_FILE_MEBIBYTES})", mebibytes(settings.storage))
    return [
        "weed",
        "-logtostderr=true",
        "server",
        "-dir=/data",
        "-ip=localhost",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        # It is alone: else it would wait for others to elect it, for ten seconds of every start.
        "-master.peers=none",
        f"-master.volumeSizeLimitMB={_FILE_MEBIBYTES}",
        f"-volume.max={files}",
        "-s3",
        "-s3.ip.bind=0.0.0.0",
        f"-s3.port={PORT}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
    ]


def _variables(settings: ObjectSettings) -> dict[str, str]:
    return {
        "GOMEMLIMIT": f"{expression('floor({} * 0.85)', mebibytes(settings.memory))}MiB",
        # Else a bucket would begin with seven files at once.
        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
    }


# The bucket is made past S3, from within the pod, so no key is needed. The shell's own exit status says nothing. What
# is already stored is served when the part that has the files has told the others.
_MAKE_BUCKET = f"""\
ask() {{ echo "$1" | timeout 10 weed -logtostderr=true shell -master=localhost:9333 2>&1; }}
serves() {{ ask volume.list | grep -q "Topology.*(volume:" && ask "{_CREATE}" | grep -q "^created bucket"; }}
attempt=0
until serves; do
  attempt=$((attempt + 1))
  [ "$attempt" -lt 60 ] || {{ ask s3.bucket.list; exit 1; }}
  sleep 2
done
"""
