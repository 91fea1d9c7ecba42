"""Redis' way back: a snapshot becomes the append-only file of `redis-0`, which the others copy."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from stacks.cluster import ClusterError, kubectl, wait_for
from stacks.jobs import finish, start
from stacks.restore.step import Request, RestoreError, Step

_CRONJOB = "redis-restore"
_CLAIM = "data-redis-0"
_SERVERS = "strata/redis=server"


def steps(request: Request) -> Sequence[Step]:
    """Return the steps for Redis. Raises `RestoreError` and `ClusterError`."""
    store = _Store(request.environment.data_namespace, request.snapshot(), request.settings.environment)
    place = f"--namespace={store.namespace}"
    replicas = store.replicas()
    aside = f"the volume {_CLAIM} keeps what was there before in /data/appendonlydir.before-<time>"
    return [
        Step(f"look whether {store.namespace} has the CronJob {_CRONJOB} and the volume {_CLAIM}", store.check),
        Step(f"stop Redis: kubectl scale statefulset redis {place} --replicas=0", lambda: store.scale(0)),
        Step("wait until its pods are gone", store.wait_until_gone),
        Step(f"bring {store.words} by a Job of {_CRONJOB}, and put it where redis-0 reads it", store.bring),
        Step(
            f"start Redis: kubectl scale statefulset redis {place} --replicas={replicas}", lambda: store.scale(replicas)
        ),
        Step(
            "wait until it is ready" + (": redis-0 first, which the others copy" if replicas > 1 else ""),
            lambda: store.wait_until_ready(replicas),
        ),
        Step(f"say how to look at it; {aside}", store.say),
    ]


@dataclass(frozen=True)
class _Store:
    """Redis of one namespace, and the snapshot that is wanted of it."""

    namespace: str
    snapshot: str
    environment: str

    @property
    def words(self) -> str:
        """The snapshot, for a person."""
        return f"the last snapshot that is not after {self.snapshot}" if self.snapshot else "the newest snapshot"

    def replicas(self) -> int:
        """Return how many servers there are when it is not stopped, which a restore before this may have left."""
        template = json.loads(self._get("statefulset", "redis", "--output=json"))["spec"]["template"]
        return 3 if any(container["name"] == "sentinel" for container in template["spec"]["containers"]) else 1

    def check(self) -> None:
        """Find out that nothing is missing before Redis is stopped."""
        if not self._get("cronjob", _CRONJOB, "--ignore-not-found", "--output=name"):
            message = (
                f"{self.namespace} has no CronJob {_CRONJOB}: there is no backup while envs/{self.environment}.tfvars "
                "gives no backups.bucket"
            )
            raise RestoreError(message)
        self._get("persistentvolumeclaim", _CLAIM, "--output=name")

    def scale(self, replicas: int) -> None:
        """Start or stop the servers."""
        kubectl("scale", "statefulset", "redis", f"--namespace={self.namespace}", f"--replicas={replicas}")

    def wait_until_gone(self) -> None:
        """Wait for pods that are on their way out, too: a server that runs would write over what is restored."""

        def is_gone() -> str:
            return "" if self._get("pods", f"--selector={_SERVERS}", "--output=name") else "gone"

        wait_for(is_gone, 300, "the pods of Redis to be gone")

    def bring(self) -> None:
        """Run the Job, and show what it says. That it cannot be heard is no reason to leave Redis stopped."""
        job = start(_CRONJOB, self.namespace, {"FROM": self.snapshot})
        finish(job, self.namespace)
        try:
            sys.stdout.write(kubectl("logs", f"job/{job}", f"--namespace={self.namespace}", "--all-containers"))
        except ClusterError as error:
            sys.stdout.write(f"Job {job} ended well; what it said cannot be read: {error}\n")

    def wait_until_ready(self, replicas: int) -> None:
        """Wait for every server."""

        def is_ready() -> str:
            ready = self._get("statefulset", "redis", "--output=jsonpath={.status.readyReplicas}")
            return ready if ready == str(replicas) else ""

        wait_for(is_ready, 900, f"{replicas} of Redis to be ready")

    def say(self) -> None:
        """Say how to look at what is there now, and where the rest is."""
        execute = f"kubectl exec redis-0 --namespace={self.namespace} --container=redis --"
        sys.stdout.write(
            f"Look at it: {execute} redis-cli info keyspace\n"
            f"What was there before is on the volume {_CLAIM}: {execute} ls /data\n"
            f"When nobody needs it any more: {execute} rm -r /data/appendonlydir.before-<time>\n"
        )

    def _get(self, *words: str) -> str:
        return kubectl("get", *words, f"--namespace={self.namespace}")
