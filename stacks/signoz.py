"""SigNoz' API, as its first administrator: through a port of this machine that kubectl leads to it."""

import base64
import http.client
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from constructs.environment import Environment
from stacks.cluster import forwarded, kubectl
from stacks.environment import EnvironmentSettings

_PORT = 8080
_SECRET = "signoz-admin"  # noqa: S105 (a Secret's name)


class SigNozError(Exception):
    """SigNoz refused, or gave no answer; the message is its own, and has no secret in it."""


class SigNoz:
    """SigNoz at a port of this machine; the calls are those of SigNoz 0.131. Raises `SigNozError`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._headers = {"Content-Type": "application/json"}

    def sign_in(self, email: str, password: str) -> None:
        """Begin a session."""
        query = urllib.parse.urlencode({"email": email, "ref": f"http://127.0.0.1:{self._port}"})
        organizations = self.call("GET", f"/api/v2/sessions/context?{query}")["orgs"]
        if not organizations:
            message = f"SigNoz knows no {email}: it makes its administrator when it starts. Look at the log of signoz-0"
            raise SigNozError(message)
        who = {"email": email, "password": password, "orgId": organizations[0]["id"]}
        session = self.call("POST", "/api/v2/sessions/email_password", who)
        self._headers["Authorization"] = f"Bearer {session['accessToken']}"

    def sign_out(self) -> None:
        """End the session."""
        self.call("DELETE", "/api/v2/sessions")
        del self._headers["Authorization"]

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 (what SigNoz answers)
        """Return the data of SigNoz' answer; None where it has none."""
        place = f"{method} {path.partition('?')[0]}"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self._headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            message = f"{place}: SigNoz gave no answer: {error}"
            raise SigNozError(message) from error
        finally:
            connection.close()
        content = _parsed(text)
        if status >= http.client.BAD_REQUEST:
            reason = (content.get("error") or {}).get("message") or http.client.responses.get(status, "")
            message = f"{place}: SigNoz says {status}: {reason}"
            raise SigNozError(message)
        return content.get("data")


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def session(settings: EnvironmentSettings) -> Iterator[SigNoz]:
    """Sign in to the SigNoz of an environment, and out again. Raises `ClusterError` and `SigNozError`."""
    namespace = Environment(settings.environment, settings.env_prefix).monitoring_namespace
    words = ("get", "secret", _SECRET, f"--namespace={namespace}", "--output=jsonpath={.data.password}")
    password = base64.b64decode(kubectl(*words)).decode()
    with forwarded("service/signoz", namespace, _PORT) as port:
        signoz = SigNoz(port)
        signoz.sign_in(settings.signoz.admin_email or f"admin@{settings.base_domain}", password)
        try:
            yield signoz
        finally:
            signoz.sign_out()
