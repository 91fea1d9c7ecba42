"""Set in SigNoz what its own chart has no value for: how long telemetry is kept, and the channel that alerts go to.

What is already so is left alone. Everything comes by environment variables; no answer of SigNoz and no password is
ever printed. The calls are those of SigNoz 0.131.
"""

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

CHANNEL = "strata"
# How alertmanager calls an address, by the kind of the channel.
RECEIVERS = {"slack": ("slack_configs", "api_url"), "webhook": ("webhook_configs", "url")}
PAUSE = 10.0


class NotYetError(Exception):
    """SigNoz did not take it; it may later, when it has started, or its schema is there."""


class SigNoz:
    """SigNoz' API, signed in to as its first administrator."""

    def __init__(self, address: str, email: str, password: str) -> None:
        self._address = address
        self._headers = {"Content-Type": "application/json"}
        query = urllib.parse.urlencode({"email": email, "ref": address})
        organizations = self.call("GET", f"/api/v2/sessions/context?{query}")["data"]["orgs"]
        if not organizations:
            message = f"SigNoz knows no {email}"
            raise NotYetError(message)
        who = {"email": email, "password": password, "orgId": organizations[0]["id"]}
        session = self.call("POST", "/api/v2/sessions/email_password", who)["data"]
        self._headers["Authorization"] = f"Bearer {session['accessToken']}"

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 (what SigNoz answers)
        """Return what SigNoz answers. Raises `NotYetError`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, self._headers, method=method)  # noqa: S310
        place = f"{method} {path.partition('?')[0]}"
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 (an address of the cluster)
                text = answer.read()
        except urllib.error.HTTPError as error:
            message = f"{place}: {error.code} {error.reason}"
            raise NotYetError(message) from error
        except (OSError, http.client.HTTPException) as error:
            message = f"{place}: {error}"
            raise NotYetError(message) from error
        return json.loads(text) if text else {}


def keep_logs(signoz: SigNoz, days: int) -> None:
    """Set for how many days logs are kept; rules that people made for some of them stay."""
    found = signoz.call("GET", "/api/v2/settings/ttl")
    if found.get("default_ttl_days") == days and found.get("status") == "success":
        return
    rules = found.get("ttl_conditions") or []
    signoz.call("POST", "/api/v2/settings/ttl", {"type": "logs", "defaultTTLDays": days, "ttlConditions": rules})
    sys.stdout.write(f"logs are kept for {days} days\n")


def keep(signoz: SigNoz, signal: str, days: int) -> None:
    """Set for how many days traces or metrics are kept, and wait until all their tables know it."""
    hours = days * 24
    place = f"/api/v1/settings/ttl?type={signal}"

    def found() -> tuple[object, object]:
        answer = signoz.call("GET", place)
        return answer.get(f"{signal}_ttl_duration_hrs"), answer.get("status")

    if found() == (hours, "success"):
        return
    signoz.call("POST", f"{place}&duration={hours}h")
    for _ in range(60):
        state = found()
        if state == (hours, "success"):
            sys.stdout.write(f"{signal} are kept for {days} days\n")
            return
        if state[1] == "failed":
            break
        time.sleep(PAUSE / 5)
    message = f"{signal} were to be kept for {days} days: SigNoz says {state[1]}, after {state[0]} hours"
    raise NotYetError(message)


def send_alerts(signoz: SigNoz, kind: str, address: str) -> None:
    """Make or renew the channel. SigNoz never shows its address again, so it is always written."""
    configs, key = RECEIVERS[kind]
    receiver = {"name": CHANNEL, configs: [{key: address, "send_resolved": True}]}
    known = [item["id"] for item in signoz.call("GET", "/api/v1/channels")["data"] or [] if item["name"] == CHANNEL]
    if known:
        signoz.call("PUT", f"/api/v1/channels/{known[0]}", receiver)
    else:
        signoz.call("POST", "/api/v1/channels", receiver)
    sys.stdout.write(f"alerts can go to the channel {CHANNEL} ({kind})\n")


def apply() -> None:
    """Set all of it once. Raises `NotYetError`."""
    retention = json.loads(os.environ["RETENTION"])
    signoz = SigNoz(os.environ["ADDRESS"], os.environ["EMAIL"], os.environ["PASSWORD"])
    keep_logs(signoz, retention["logs_days"])
    keep(signoz, "traces", retention["traces_days"])
    keep(signoz, "metrics", retention["metrics_days"])
    if os.environ["CHANNEL"] != "none":
        send_alerts(signoz, os.environ["CHANNEL"], os.environ["CHANNEL_URL"].strip())


def main() -> int:
    """Set all of it, again and again until SigNoz takes it or the time is over; return the process's exit status."""
    end = time.monotonic() + float(os.environ["SECONDS"])
    while True:
        try:
            apply()
        except NotYetError as error:
            sys.stdout.write(f"not yet: {error}\n")
            sys.stdout.flush()
            if time.monotonic() > end:
                return 1
            time.sleep(PAUSE)
        else:
            return 0


if __name__ == "__main__":
    sys.exit(main())
