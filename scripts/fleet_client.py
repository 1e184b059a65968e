"""What is said to a development fleet, and what it answers."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from scripts.fleet_parts import DevelopmentEdge, Host
from scripts.processes import StartError, in_namespace, wait_for


def http_request(
    host: Host, method: str, url: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """One request, made where ``host`` is: (status, text). Raises OSError."""

    def work() -> tuple[int, str]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    return in_namespace(host.namespace, work)


def answers(host: Host, url: str) -> bool:
    """Whether a GET is answered, by a refusal too."""
    try:
        return http_request(host, "GET", url)[0] < 500
    except OSError:
        return False


@dataclass(frozen=True)
class FleetClient:
    """``host`` is where the control plane is, and its clients; ``url`` its URL, ``key`` an administration key."""

    host: Host
    url: str
    key: str

    def request(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        """One provisioning request: (status, JSON or None)."""
        headers = {"Authorization": f"Bearer {self.key if key is None else key}", "Content-Type": "application/json"}
        data = json.dumps(body) if body is not None else None
        status, text = http_request(self.host, method, self.url + path, data, headers)
        return status, json.loads(text) if text else None

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """As ``request``, but what isn't a success is raised."""
        status, answer = self.request(method, path, body)
        if status >= 300:
            raise StartError(f"{method} {path}: status {status}, {answer}")
        return answer

    def health(self, edge: DevelopmentEdge) -> Any:
        """The edge's /health, None if it doesn't answer."""
        try:
            return json.loads(http_request(edge.host, "GET", f"http://{edge.metrics}/health")[1])
        except OSError:
            return None

    def events(self, edge: DevelopmentEdge) -> dict[str, float]:
        """The edge's event counters."""
        text = http_request(edge.host, "GET", f"http://{edge.metrics}/metrics")[1]
        found = {}
        for line in text.splitlines():
            if line.startswith("sipwizard_events_total{"):
                found[line.partition('"')[2].partition('"')[0]] = float(line.rpartition(" ")[2])
        return found

    def wait_for_calls(self, tenant: str, day: str, number: int, ended: int = 0) -> list[Any]:
        """A tenant's calls of ``day``, once there are ``number``, and ``ended`` of them have; they come with the edges'
        reports."""

        def found() -> list[Any] | None:
            calls = self.calls(tenant, day)
            enough = len(calls) >= number and sum(call["ended"] is not None for call in calls) >= ended
            return calls if enough else None

        return wait_for(f"{number} calls, {ended} ended", found, 30)

    def calls(self, tenant: str, day: str) -> list[Any]:
        """A tenant's answered calls of ``day``."""
        items: list[Any] = []
        cursor = ""
        while True:
            page = self.api("GET", f"/v1/calls?tenant={tenant}&day={day}&limit=200{cursor}")
            items += page["items"]
            if page["next"] is None:
                return [item for item in items if item["answered"] is not None]
            cursor = f"&cursor={page['next']}"
