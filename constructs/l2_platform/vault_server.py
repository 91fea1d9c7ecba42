"""Vault's servers and its injector: what HashiCorp's chart is told."""

from collections.abc import Mapping, Sequence

from constructs.network_flow import NAMESPACE_NAME, VAULT, VAULT_CLIENT
from constructs.reference import Reference, expression
from constructs.secrets_engine import SecretsEngine
from constructs.versions import VERSIONS

PORT = 8200
CLUSTER_PORT = 8201
METRICS_PORT = 8202
# The Secret with the unseal key and the root token.
KEYS = "vault-keys"
# What is small in every pod of Vault's.
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}

# Only a server with nothing in it reads whom to join: those that one server does not have are never called.
_JOINS = "".join(
    f"""\
  retry_join {{
    leader_api_addr = "http://vault-{ordinal}.vault-internal:{PORT}"
  }}
"""
    for ordinal in range(3)
)
_CONFIGURATION = f"""\
ui = true
disable_mlock = true

listener "tcp" {{
  tls_disable = true
  address = "[::]:{PORT}"
  cluster_address = "[::]:{CLUSTER_PORT}"
}}

# Metrics need no token here: this port is open to the platform's telemetry alone.
listener "tcp" {{
  tls_disable = true
  address = "[::]:{METRICS_PORT}"
  telemetry {{
    unauthenticated_metrics_access = true
  }}
}}

telemetry {{
  disable_hostname = true
}}

storage "raft" {{
  path = "/vault/data"
{_JOINS}}}

service_registration "kubernetes" {{}}
"""
# Two that initialise at the same moment would be two Vaults: the first alone may, the others join it.
_UNSEAL = """\
until wget -qO /dev/null "$VAULT_ADDR/v1/sys/seal-status"; do sleep 1; done
case "$POD_NAME" in *-0) set -- "$@" --init ;; esac
exec bank-vaults unseal "$@"
"""
_POD_SECURITY: dict[str, object] = {
    "runAsNonRoot": True,
    "runAsUser": 100,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY: dict[str, object] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_READ_ONLY: dict[str, object] = {**_CONTAINER_SECURITY, "readOnlyRootFilesystem": True}


def chart_values(
    *,
    namespace: str,
    priority_class: str,
    replicas: object,
    storage: object,
    resources: Mapping[str, object],
    clients: Reference,
    engines: Sequence[SecretsEngine],
) -> dict[str, object]:
    """Return the chart's values. The injector answers for the namespaces `clients`."""
    return {
        "global": {"tlsDisable": True},
        "server": _server(
            namespace=namespace,
            priority_class=priority_class,
            replicas=replicas,
            storage=storage,
            resources=resources,
            engines=engines,
        ),
        "injector": _injector(priority_class=priority_class, clients=clients),
    }


def _server(
    *,
    namespace: str,
    priority_class: str,
    replicas: object,
    storage: object,
    resources: Mapping[str, object],
    engines: Sequence[SecretsEngine],
) -> dict[str, object]:
    image, _, tag = VERSIONS.images["vault"].rpartition(":")
    certificates = {secret: path for engine in engines for secret, path in engine.certificates.items()}
    return {
        "image": {"repository": image, "tag": tag},
        # Helm then waits until all are unsealed, and an upgrade moves on by itself.
        "updateStrategyType": "RollingUpdate",
        "priorityClassName": priority_class,
        "resources": resources,
        "dataStorage": {"size": storage},
        # A server starts without another system's certificate, and has it a minute after it is there.
        "volumes": [{"name": secret, "secret": {"secretName": secret, "optional": True}} for secret in certificates],
        "volumeMounts": [
            {"name": secret, "mountPath": path, "readOnly": True} for secret, path in certificates.items()
        ],
        "statefulSet": {"securityContext": {"pod": _POD_SECURITY, "container": _CONTAINER_SECURITY}},
        # The chart would require as many nodes as servers.
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "podAffinityTerm": {
                            "labelSelector": {"matchLabels": dict(VAULT.peer.pods)},
                            "topologyKey": "kubernetes.io/hostname",
                        },
                    }
                ]
            }
        },
        # A server that is sealed answers nobody.
        "service": {"publishNotReadyAddresses": False},
        "ha": {
            "enabled": True,
            "replicas": replicas,
            "disruptionBudget": {"enabled": expression("{} > 1", replicas)},
            "raft": {"enabled": True, "setNodeId": True, "config": _CONFIGURATION},
        },
        "extraContainers": [
            {
                "name": "bank-vaults",
                "image": VERSIONS.images["bank-vaults"],
                "command": ["/bin/sh", "-euc", _UNSEAL, "bank-vaults"],
                "args": [
                    "--mode=k8s",
                    f"--k8s-secret-namespace={namespace}",
                    f"--k8s-secret-name={KEYS}",
                    # All shares would lie in the one Secret.
                    "--secret-shares=1",
                    "--secret-threshold=1",
                ],
                "env": [
                    {"name": "VAULT_ADDR", "value": f"http://127.0.0.1:{PORT}"},
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "resources": SMALL,
                "securityContext": _READ_ONLY,
            }
        ],
    }


def _injector(*, priority_class: str, clients: Reference) -> dict[str, object]:
    image, _, tag = VERSIONS.images["vault"].rpartition(":")
    return {
        "enabled": True,
        "agentImage": {"repository": image, "tag": tag},
        "agentDefaults": {"cpuRequest": "10m", "memRequest": "64Mi", "memLimit": "128Mi"},
        "webhook": {
            # Without its secrets a client must not start; other pods never wait for the injector.
            "failurePolicy": "Fail",
            "timeoutSeconds": 10,
            "namespaceSelector": {"matchExpressions": [{"key": NAMESPACE_NAME, "operator": "In", "values": clients}]},
            "objectSelector": {"matchLabels": VAULT_CLIENT},
        },
        "affinity": "",
        "priorityClassName": priority_class,
        "resources": SMALL,
        "securityContext": {
            "pod": _POD_SECURITY,
            "container": _READ_ONLY,
        },
    }
