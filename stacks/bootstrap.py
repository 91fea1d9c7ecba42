"""The bootstrap: from a machine, a domain and a repository to the first `atlantis apply`. `make bootstrap` runs it.

Each step calls a target of make, and looks first whether there is anything left to do. A step that lacks something
stops with what a person must do; the next run goes on from there.
"""

import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from stacks import doctor
from stacks.cluster import ClusterError, kubectl
from stacks.project import Project, ProjectError, load
from stacks.supplied import SERVER_KEYS, supplied

_ROOT = Path(__file__).resolve().parent.parent
_EVENTS = {
    "github": "pull requests, pull request reviews, issue comments, pushes",
    "github-app": "those of the App's own webhook: pull requests, their reviews, issue comments, pushes",
    "gitlab": "pushes, comments, merge requests",
    "gitea": "push, issue comment, pull request, its comments, reviews and synchronization",
}


class Stop(Exception):  # noqa: N818 (it is no error: a person is needed)
    """What a person must do before the bootstrap can go on."""


def stop(words: str) -> NoReturn:
    """Raise `Stop`."""
    raise Stop(words)


@dataclass(frozen=True)
class Bootstrap:
    """The steps, in their order. `make` runs a target and tells whether it succeeded; `ask` returns what is typed."""

    project: Project
    make: Callable[..., bool]
    ask: Callable[[str], str]
    say: Callable[[str], object]

    @property
    def infra(self) -> Mapping[str, Any]:
        """What envs/infra.tfvars says."""
        return self.project.infra.model_dump()

    @property
    def backend(self) -> str:
        """Where cdktf.json keeps the state."""
        return self.project.cdktf.context.backend.type

    def run(self) -> None:
        """Go through all steps. Raises `Stop`."""
        steps = (
            self.examine,
            self.nodes,
            self.house,
            self.secrets,
            self.apply,
            self.state,
            self.publish,
            self.hand_over,
        )
        for number, step in enumerate(steps, start=1):
            self.say(f"\n== {number} of {len(steps)}: {step.__doc__ or ''}")
            step()

    def examine(self) -> None:
        """Look at everything."""
        self._must("doctor", words="mend what is marked so")

    def nodes(self) -> None:
        """Install the nodes."""
        if not self.infra["k3s_servers"]:
            self.say("k3s_servers is empty: the cluster of KUBECONFIG is used as it is.")
            return
        self._must("nodes", words="mend what the script said of the machines")

    def house(self) -> None:
        """Make the namespaces in which Secrets are to lie."""
        wanted = {"iac", *(secret.namespace for secret in supplied(self.infra))} - {"kube-system"}
        missing = [
            name
            for name in sorted(wanted)
            if not kubectl("get", "namespace", name, "--ignore-not-found", "--output=name")
        ]
        if not missing:
            self.say("They are there.")
            return
        if "iac" in missing and self.backend == "kubernetes":
            words = "with it infra's state lies in iac, which is not there yet"
            stop(f'set context.backend of cdktf.json to {{ "type": "local" }} for the first apply: {words}')
        self._apply(*namespace_targets(missing))

    def secrets(self) -> None:
        """Ask for the tokens that no file may hold."""
        self._must("secrets", words="give what is missing")

    def apply(self) -> None:
        """Apply infra."""
        if self.backend != "local":
            self._must("move-state", "ENV=infra", words="see where infra's state is")
        self._apply()

    def state(self) -> None:
        """Move the state to where it is to stay."""
        if self.backend == "local":
            if "atlantis" not in self.infra["components"]:
                self.say("It is local, which is enough as long as you apply from this machine alone.")
                return
            words = "Atlantis refuses a local state"
            stop(f'{words}: set context.backend of cdktf.json, to {{ "type": "kubernetes" }} if you have no bucket')
        self._must("state", words="see which state is newer")

    def publish(self) -> None:
        """Commit and push what was synthesized."""
        self._must("synth", words="mend the settings")
        findings = [finding for finding in doctor.repository(self.infra) if finding.verdict is not doctor.Verdict.OK]
        if findings:
            stop("\n".join(f"{finding.subject}: {finding.words}" for finding in findings))
        self.say("It is pushed.")

    def hand_over(self) -> None:
        """Let Atlantis take over."""
        if "atlantis" not in self.infra["components"]:
            self.say("atlantis is not in components: go on with make apply ENV=staging.")
            return
        host, settings = f"atlantis.{self.infra['base_domain']}", self.infra["atlantis"]
        fault = answer(f"https://{host}/healthz")
        if fault is not None:
            stop(
                f"https://{host} does not answer: {fault}\nSee that {host} leads to your cluster (a record that you or "
                "external-dns makes), that port 443 is open, and: kubectl get ingress,certificate,pods --namespace=iac"
            )
        _, key = SERVER_KEYS[settings["vcs"]]
        self.say(
            f"Atlantis answers. At {settings['repository']}, add a webhook:\n"
            f"  address  https://{host}/events\n"
            f"  type     application/json\n"
            f"  events   {_EVENTS[settings['vcs']]}\n"
            f"  secret   kubectl get secret {settings['credentials_secret']} --namespace=iac "
            f"--output=jsonpath='{{.data.{key}}}' | base64 --decode\n"
            f"Protect the branch {settings['branch']}: one approval at least, which ends with a new commit."
        )
        if self.ask("Type yes when both are done: ").strip() != "yes":
            stop("add the webhook and protect the branch")
        self.say(
            "Done. From now on changes go by pull requests: change envs/staging.tfvars on a branch, make synth, push,\n"
            "open a pull request. Atlantis plans staging; comment atlantis apply. See docs/tutorial/bootstrap.md."
        )

    def _apply(self, *arguments: str) -> None:
        given = shlex.join([*shlex.split(os.environ.get("STRATA_ARGS", "")), *arguments])
        self._must("apply", "ENV=infra", f"ARGS={given}", words="see what Terraform said")

    def _must(self, *target: str, words: str) -> None:
        if not self.make(*target):
            stop(f"{words} (make {target[0]} failed)")


def namespace_targets(names: Collection[str]) -> list[str]:
    """Return the arguments by which Terraform makes namespaces of infra's, and nothing else."""
    return [f"-target=kubernetes_namespace_v1.tenancy_{name}" for name in sorted(names)]


def answer(url: str) -> str | None:
    """Return what keeps an address from answering with 200 within ten seconds; None: nothing does."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 (https, of our own making)
            return None if response.status == 200 else f"status {response.status}"  # noqa: PLR2004
    except (urllib.error.URLError, OSError) as error:
        return str(getattr(error, "reason", error))


def main(make: str) -> int:
    """Go through all steps; return the process's exit status."""

    def run(*target: str) -> bool:
        return subprocess.run([make, "--no-print-directory", *target], cwd=_ROOT, check=False).returncode == 0  # noqa: S603

    def say(words: str) -> None:
        sys.stdout.write(f"{words}\n")
        sys.stdout.flush()

    try:
        Bootstrap(load(_ROOT), run, input, say).run()
    except (Stop, ProjectError, ClusterError, EOFError, KeyboardInterrupt) as error:
        sys.stderr.write(f"\nNot done yet: {error or 'nobody answered'}\nThen: make bootstrap. It goes on from here.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
