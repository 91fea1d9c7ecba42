"""What simulated nodes leave undone: volumes are made, and webhooks that nobody answers let everything pass."""

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stacks.cluster import ClusterError, kubectl

# What K3s brings from its first boot, as much of it as the stacks need.
K3S = Path(__file__).parent / "k3s.yaml"
# On a webhook that is meant to give no answer.
DEAF = "strata/deaf"
_PROVISIONER = "rancher.io/local-path"
_KINDS = "validatingwebhookconfigurations,mutatingwebhookconfigurations,persistentvolumeclaims"


def simulate(stop: threading.Event) -> None:
    """Make do with simulated nodes until it is told to stop, on the cluster of KUBECONFIG."""
    with suppress(ClusterError):
        kubectl("taint", "nodes", "--all", "node.kubernetes.io/not-ready-")
    while not stop.wait(0.3):
        # An API server that is being stopped, or an object that has just gone.
        with suppress(ClusterError):
            for item in json.loads(kubectl("get", _KINDS, "--all-namespaces", "--output=json"))["items"]:
                if item["kind"] == "PersistentVolumeClaim":
                    _provide(item)
                elif DEAF not in item["metadata"].get("labels", {}):
                    _let_pass(item)


def _let_pass(configuration: Mapping[str, Any]) -> None:
    patch = [
        {"op": "replace", "path": f"/webhooks/{index}/{field}", "value": value}
        for index, webhook in enumerate(configuration.get("webhooks", []))
        if webhook["failurePolicy"] != "Ignore"
        for field, value in (("failurePolicy", "Ignore"), ("timeoutSeconds", 1))
    ]
    if patch:
        name = configuration["metadata"]["name"]
        kubectl("patch", configuration["kind"], name, "--type=json", f"--patch={json.dumps(patch)}")


def _provide(claim: Mapping[str, Any]) -> None:
    """Make the volume of a claim that waits for K3s' provisioner, whose pod has found its node."""
    metadata, spec = claim["metadata"], claim["spec"]
    notes = metadata.get("annotations", {})
    is_chosen = "volume.kubernetes.io/selected-node" in notes and not spec.get("volumeName")
    if not is_chosen or notes.get("volume.kubernetes.io/storage-provisioner") != _PROVISIONER:
        return
    name = f"pvc-{metadata['uid']}"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": _PROVISIONER}},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": {key: metadata[key] for key in ("name", "namespace", "uid")}
            | {"kind": "PersistentVolumeClaim"},
            "hostPath": {"path": f"/var/lib/rancher/k3s/storage/{name}"},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
        },
    }
    # Until the claim is bound, it is seen again.
    kubectl("apply", "--filename=-", text=json.dumps(volume))
