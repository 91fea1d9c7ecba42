"""A chart release: the one place where Helm is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from cdktf import Fn, ITerraformDependable, TerraformLocal
from cdktf_cdktf_provider_helm.release import Release as HelmRelease

from constructs import Construct
from constructs.digest import digest_of
from constructs.reference import expression, resolve
from constructs.versions import ROOT, VERSIONS

LOCAL_CHARTS = ROOT / "charts"
_MIRROR = "var.chart_mirror"


class Release(Construct):
    """One release of a chart, waited for until its pods are ready; of custom resources Helm knows nothing.

    `chart` names an entry of versions.toml or a folder of `charts/`. `values` may hold references; Terraform renders
    them, so numbers and booleans keep their types. A key whose value is None is left out.

    A release that fails is undone (`atomic`): a failed first install would otherwise be replaced by the next apply,
    and a failed upgrade would leave half of two versions. `timeout` is in seconds. `skip_crds` leaves out what lies in
    the chart's folder `crds/`, which Helm would install once and never upgrade.

    `each` is merged over `values`, key by key, as Helm merges. Where `for_each` makes it one release for every entry of
    a map, `each` may name `each.key` and `each.value`, which `values` may not.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        chart: str,
        name: str,
        namespace: str,
        values: Mapping[str, object],
        timeout: int = 600,
        skip_crds: bool = False,
        each: Mapping[str, object] | None = None,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, id_)
        is_local = (LOCAL_CHARTS / chart).is_dir()
        source = local_chart(chart) if is_local else published_chart(chart, VERSIONS.charts[chart].version)
        if is_local:
            # Helm sees no change in a local chart unless its version or its values change.
            values = {**values, "chartDigest": digest_of(LOCAL_CHARTS / chart)}
        local = TerraformLocal(self, "values", resolve(values))
        self.name = name
        self.resource = HelmRelease(
            self,
            "this",
            repository=source.repository,
            chart=source.chart,
            version=source.version,
            name=name,
            namespace=namespace,
            create_namespace=False,
            values=[Fn.yamlencode(local.expression), *([str(expression("yamlencode({})", each))] if each else [])],
            atomic=True,
            cleanup_on_fail=True,
            wait=True,
            timeout=timeout,
            max_history=10,
            skip_crds=skip_crds or None,
            depends_on=list(depends_on) or None,
        )


@dataclass(frozen=True)
class Source:
    """Where Helm finds a chart."""

    repository: str | None
    chart: str
    version: str


def published_chart(name: str, version: str) -> Source:
    """Return where a chart of versions.toml is: in its own repository, or where `chart_mirror` says."""
    chart = VERSIONS.charts[name]
    is_folder = f'{_MIRROR} != "" && !startswith({_MIRROR}, "oci://")'
    repository = expression(f'{is_folder} ? null : {_MIRROR} == "" ? {{}} : {_MIRROR}', chart.repository)
    archive = f'"${{{{{_MIRROR}}}}}/{name}-{version}.tgz"'
    return Source(str(repository), str(expression(f"{is_folder} ? {archive} : {{}}", name)), version)


def local_chart(name: str) -> Source:
    """Return where a chart of `charts/` is, seen from a stack's folder."""
    metadata: dict[str, Any] = yaml.safe_load((LOCAL_CHARTS / name / "Chart.yaml").read_text(encoding="utf-8"))
    return Source(None, f"${{path.module}}/../../../charts/{name}", metadata["version"])
