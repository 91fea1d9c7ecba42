"""How Traefik 3.7 reads an Ingress, and what PostHog's host is asked: the tests of the route share both.

The source: v3.7.8, pkg/provider/kubernetes/ingress/kubernetes.go and pkg/muxer/http.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support import Stack

# Which Service is to answer. K3s' Traefik reads a prefix letter by letter, unless it is told to read it by elements.
ANSWERS = {
    # What PostHog's libraries ask, with the slash and without.
    "/s": "replay-capture",
    "/s/": "replay-capture",
    "/s/?ip=1&_=1&ver=1.2": "replay-capture",
    "/e": "capture",
    "/e/": "capture",
    "/e/?compression=gzip-js": "capture",
    "/i/v0/e": "capture",
    "/i/v0/e/": "capture",
    "/i/v1/analytics/events": "capture",
    "/batch": "capture",
    "/batch/": "capture",
    "/capture": "capture",
    "/capture/": "capture",
    "/flags?v=2": "feature-flags",
    "/flags/?v=2": "feature-flags",
    "/flags/definitions?token=t": "feature-flags",
    "/decide": "feature-flags",
    "/decide/?v=3": "feature-flags",
    "/api/feature_flag/local_evaluation": "feature-flags",
    "/api/feature_flag/local_evaluation/?token=t": "feature-flags",
    "/array/phc_token/config": "hypercache-server",
    "/array/phc_token/config.js": "hypercache-server",
    "/surveys?token=t": "hypercache-server",
    "/surveys/?token=t": "hypercache-server",
    "/api/surveys?token=t": "hypercache-server",
    "/api/surveys/?token=t": "hypercache-server",
    "/public/webhooks/0190-1": "plugins",
    "/public/webhooks/dwh/0190-1": "plugins",
    "/public/m/pixel": "plugins",
    "/public/m/redirect?x=1": "plugins",
    # Their neighbours, which a careless prefix would take from web.
    "/": "web",
    "/static/array.js": "web",
    "/static/": "web",
    "/signup": "web",
    "/settings/project": "web",
    "/shared/token": "web",
    "/events": "web",
    "/experiments": "web",
    "/exporter/token": "web",
    "/embedded/token": "web",
    "/flagship": "web",
    "/feature_flags": "web",
    "/batch_exports": "web",
    "/captured": "web",
    "/decided": "web",
    "/surveysomething": "web",
    "/surveys/0190-1": "web",
    "/api/surveys_list": "web",
    "/api/surveys/0190-1": "web",
    "/api/projects/1/surveys/": "web",
    "/api/projects/1/feature_flags/": "web",
    "/api/feature_flag/": "web",
    "/array_of_things": "web",
    "/public/messages": "web",
    "/i": "web",
    "/i/v1/logs": "web",
    "/login": "web",
    "/_preflight": "web",
    "/api/users/@me/": "web",
    "/administrators": "web",
    "/internally": "web",
    # What nobody outside reaches: a service that knows none of it answers.
    "/admin": "hypercache-server",
    "/admin/": "hypercache-server",
    "/admin/login/": "hypercache-server",
    "/internal/tasks/runs/1/agent-proxy-callback/": "hypercache-server",
    "/api/internal/hog_flows/process_due_schedules": "hypercache-server",
    "/_health": "hypercache-server",
    "/_readyz?role=web": "hypercache-server",
    "/_stats/": "hypercache-server",
    # The same, written so that Traefik and web could read it differently.
    "/admin%2Flogin/": "hypercache-server",
    "/internal%2ftasks/runs/1": "hypercache-server",
    "/%61dmin/login/": "hypercache-server",
    "//admin/login/": "hypercache-server",
    "/static/../admin/login/": "hypercache-server",
    "/./internal/tasks/runs/1": "hypercache-server",
}
# Here prefixes by elements leave a way open, which K3s does not have: the path in one piece is no element of its own.
LETTERS_ONLY = {"/admin%2Flogin/", "/internal%2ftasks/runs/1"}
# What the model has no words for: a path is decoded and put in order before a rule sees it.
REWRITTEN = ("%2f", "%61", "//", "/../", "/./")


@dataclass(frozen=True)
class Rule:
    """A rule of Traefik's: the longest that matches has its way."""

    text: str
    service: str
    exact: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    def matches(self, path: str) -> bool:
        """Say whether a path is the rule's; one without a path takes all."""
        takes_all = not self.exact and not self.prefixes
        return takes_all or path in self.exact or path.startswith(self.prefixes)


def rules(ingress: Stack, *, by_elements: bool) -> Iterator[Rule]:
    """Yield Traefik's rules of an Ingress resource, for one setting of `strictPrefixMatching`."""
    [rule] = ingress["spec"]["rule"]
    for item in rule["http"]["path"]:
        service = item["backend"]["service"]["name"].removeprefix("posthog-")
        path = item.get("path", "")
        if not path:
            yield Rule("", service)
        elif item["path_type"] == "Exact":
            yield Rule(f'Path("{path}")', service, exact=(path,))
        elif by_elements and path != "/":
            bare = path.removesuffix("/")
            text = f'(Path("{bare}") || PathPrefix("{bare}/"))'
            yield Rule(text, service, exact=(bare,), prefixes=(f"{bare}/",))
        else:
            yield Rule(f'PathPrefix("{path}")', service, prefixes=(path,))


def answering(ingress: Stack, path: str, *, by_elements: bool) -> set[str]:
    """Return which Services may answer: those of the longest rules that match."""
    bare = path.partition("?")[0]
    found = [rule for rule in rules(ingress, by_elements=by_elements) if rule.matches(bare)]
    longest = max((len(rule.text) for rule in found), default=0)
    return {rule.service for rule in found if len(rule.text) == longest}
