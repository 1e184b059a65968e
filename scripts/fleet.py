"""A development fleet: MiniStack, the control plane and edges, as processes. ``scripts/up`` runs one in the foreground;
tests start theirs on loopback addresses or in namespaces of their own."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import boto3
import typer
from botocore.config import Config

from scripts.processes import Processes, StartError, in_namespace, wait_for
from scripts.tables import create_tables

ROOT = Path(__file__).parent.parent
PREFIX = "sipwizard"
DOMAIN = "sipwizard.test"
USERS = ("alice", "bob", "carol", "dave")
SIP, MESH, METRICS, CONTROL, MINISTACK = 5060, 5070, 9090, 8080, 4566

_REGION, _DEVELOPMENT = "us-east-1", "development"  # MiniStack takes any credentials
DEVELOPMENT_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": _DEVELOPMENT,
    "AWS_SECRET_ACCESS_KEY": _DEVELOPMENT,
    "AWS_DEFAULT_REGION": _REGION,
}


def development_client(service: str, endpoint: str, region: str = _REGION, **config: Any) -> Any:
    """A boto3 client of a MiniStack."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=_DEVELOPMENT,
        aws_secret_access_key=_DEVELOPMENT,
        config=Config(**config),
    )


@dataclass(frozen=True)
class Host:
    """Where something runs: an address, and a network namespace if it isn't this one."""

    address: str
    namespace: str | None = None


@dataclass
class Edge:
    """``settings`` go into its configuration; ``may_hold`` are the edge addresses it is registered for, its own if
    empty; ``environment`` is for its processes, beside what all have."""

    id: str
    host: Host
    settings: dict[str, Any] = field(default_factory=dict)
    may_hold: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return str(self.settings.get("address", self.host.address))

    @property
    def sip(self) -> str:
        return f"{self.address}:{SIP}"

    @property
    def metrics(self) -> str:
        return f"{self.host.address}:{METRICS}"


@dataclass(frozen=True)
class Account:
    aor: str
    username: str
    password: str


class PortInUse(StartError):
    """Something else has a port that is needed."""


class DevelopmentFleet:
    """``start`` brings everything up and ``stop`` takes it down; state is new each time."""

    control_module = "lambdas"  # what serves the control plane, by ``python -m``

    def __init__(
        self,
        directory: Path,
        control: Host,
        edges: Sequence[Edge],
        endpoint: str | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.directory = directory
        self.control = control
        self.edges = list(edges)
        self.endpoint = endpoint or f"http://{control.address}:{MINISTACK}"
        self._own_dynamodb = endpoint is None
        self.environment: dict[str, str] = {}  # for all its processes, beside what they need
        self.control_endpoint = ""  # where the control plane finds its tables, if that isn't the endpoint itself
        self.api_url = f"http://{control.address}:{CONTROL}"
        self.key = ""
        self.tenant = ""
        self.accounts: dict[str, Account] = {}
        self.processes = Processes(directory)
        self._say = say
        credentials = DEVELOPMENT_CREDENTIALS if self._own_dynamodb else {}
        self._environment = {
            **credentials,
            "TABLE_PREFIX": PREFIX,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    # Starting and stopping

    def start(self) -> None:
        """Raises StartError with one clear sentence if something is in the way."""
        self.check_ports()
        if self._own_dynamodb:
            self._start_ministack()
        self._make_tables()
        self.start_control()
        self.provision()
        for edge in self.edges:
            self.start_edge(edge)
        for edge in self.edges:
            self.wait_ready(edge)
            self._say(f"edge {edge.id} ready at {edge.sip} (UDP and TCP)")

    def stop(self) -> None:
        self.processes.stop_all()

    def check_ports(self) -> None:
        """Raises PortInUse."""
        wanted = [("tcp", self.control, CONTROL)]
        if self._own_dynamodb:
            wanted.append(("tcp", self.control, MINISTACK))
        for edge in self.edges:
            wanted += [("udp", edge.host, SIP), ("tcp", edge.host, SIP)]
            wanted += [("udp", edge.host, MESH), ("tcp", edge.host, METRICS)]
        for kind, host, port in wanted:
            in_namespace(host.namespace, lambda kind=kind, host=host, port=port: _check_port(kind, host.address, port))

    def _start_ministack(self) -> None:
        self.start_ministack("ministack", self.control)
        self._say(f"MiniStack ready at {self.endpoint}")

    def start_ministack(self, name: str, host: Host) -> None:
        """A MiniStack with state of its own."""
        scratch = self.directory / name
        scratch.mkdir(exist_ok=True)
        environment = {
            "GATEWAY_PORT": str(MINISTACK),
            "BIND_HOST": host.address,
            "MINISTACK_HOST": host.address,
            "SERVICES": "dynamodb,sqs,ses",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "TMPDIR": str(scratch),
        }
        self._run(name, ["-m", "ministack"], environment, host)
        health = f"http://{host.address}:{MINISTACK}/_ministack/health"
        self.processes.wait_until(name, lambda: self._answers(health))

    def _make_tables(self) -> None:
        patience: dict[str, Any] = {"connect_timeout": 3, "retries": {"total_max_attempts": 2}}

        def make() -> list[str]:
            if self._own_dynamodb:
                client = development_client("dynamodb", self.endpoint, **patience)
            else:
                client = boto3.client("dynamodb", endpoint_url=self.endpoint, config=Config(**patience))
            return create_tables(client, PREFIX)

        try:
            made = in_namespace(self.control.namespace, make)
        except Exception as error:
            raise StartError(f"the tables can't be made at {self.endpoint}: {error}") from error
        self._say(f"tables ready ({len(made)} made, as template.yaml has them)")

    def start_control(self) -> None:
        self.start_control_at("control", self.control, self.control_endpoint or self.endpoint, {})
        self._say(f"control plane ready at {self.api_url}")

    def _queue(self, host: Host, endpoint: str) -> dict[str, str]:
        """Where webhooks wait, if the endpoint has queues."""
        if not self._own_dynamodb:
            return {}
        made = in_namespace(
            host.namespace, lambda: development_client("sqs", endpoint).create_queue(QueueName=f"{PREFIX}-hooks")
        )
        return {"HOOKS_QUEUE": made["QueueUrl"]}

    def start_control_at(self, name: str, host: Host, endpoint: str, environment: dict[str, str]) -> None:
        """A control plane over the tables at ``endpoint``."""
        key = self.directory / "secrets.key"
        if not key.exists():
            key.touch(0o600)
            key.write_bytes(base64.b64encode(os.urandom(32)))
        # Development domains are in nobody's DNS.
        own = {"SECRETS_KEY_FILE": str(key), "DOMAIN_PROOF": "off", "PROBE_SECONDS": "0"}
        own = {name: self.environment.get(name, value) for name, value in own.items()}
        environment = {**own, **self._queue(host, endpoint), **environment}
        arguments = ["-m", self.control_module, "--host", host.address, "--port", str(CONTROL), "--endpoint", endpoint]
        self._run(name, arguments, environment, host)
        url = f"http://{host.address}:{CONTROL}/v1/openapi.json"
        self.processes.wait_until(name, lambda: self._answers(url))

    def provision(self) -> None:
        """A key, a tenant, a domain and accounts."""
        self._run("make-key", ["-m", "lambdas", "make-key", "--endpoint", self.endpoint], {}, self.control)
        log = self.directory / "make-key.log"
        found = wait_for("the first API key", lambda: _key_in(log.read_text()), 20)
        self.key = found
        log.unlink()  # the key is shown once, not kept in logs
        self.processes.stop("make-key")
        self.tenant = self.api("POST", "/v1/tenants", {"name": "Development"})["id"]
        self._once("POST", "/v1/domains", {"tenant": self.tenant, "name": DOMAIN, "default": True})
        for user in USERS:
            made = self._once("POST", "/v1/accounts", {"username": user, "domain": DOMAIN})
            if made is None:
                made = self.api("POST", f"/v1/accounts/{user}@{DOMAIN}/password", {})
            self.accounts[user] = Account(made["aor"], made["username"], made["password"])
        self._say(f"domain {DOMAIN} with accounts {', '.join(USERS)}")

    def _once(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """As ``api``, but None where it exists already (with an endpoint that keeps its data)."""
        status, answer = self.request(method, path, body)
        if status == 409:
            return None
        if status >= 300:
            raise StartError(f"{method} {path}: {answer}")
        return answer

    def write_config(self, edge: Edge) -> Path:
        """``ID.toml`` for ``python -m edge``."""
        path = self.directory / f"{edge.id}.toml"
        settings: dict[str, Any] = {
            "id": edge.id,
            "address": edge.address,
            "listen": [f"udp://{edge.sip}", f"tcp://{edge.sip}"],
            "mesh": f"{edge.host.address}:{MESH}",
            "metrics": edge.metrics,
            "control": [self.api_url],
            "key_file": f"{edge.id}.key",
            **edge.settings,
        }
        # JSON's strings, numbers and lists of strings are TOML's.
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        return path

    def start_edge(self, edge: Edge) -> None:
        """Start an edge, registering it first if it is new."""
        from edge.control.identity import Identity

        path = self.write_config(edge)
        if not (self.directory / f"{edge.id}.key").exists():
            public_key = Identity.load_or_make(edge.id, self.directory / f"{edge.id}.key").public_key
            if self.request("GET", f"/v1/edges/{edge.id}")[0] == 200:
                self.api("DELETE", f"/v1/edges/{edge.id}")
            body = {"id": edge.id, "public_key": public_key, "addresses": edge.may_hold or [edge.address]}
            self.api("POST", "/v1/edges", body)
        self._run(edge.id, ["-m", "edge", "--config", str(path)], edge.environment, edge.host)

    def wait_ready(self, edge: Edge) -> None:
        """Until it holds its address and has a mesh link to every other running edge."""
        others = sum(other is not edge for other in self.edges)

        def ready() -> bool:
            health = self.health(edge)
            return bool(health and health["ready"] and len(health["mesh"]) >= others)

        self.processes.wait_until(edge.id, ready, 30)

    def drain(self, edge: Edge) -> None:
        """``python -m edge drain``, to its end. Raises StartError if the edge won't."""
        self._run(
            f"drain-{edge.id}",
            ["-m", "edge", "drain", "--config", str(self.directory / f"{edge.id}.toml")],
            edge.environment,
            edge.host,
        )
        status = self.processes.wait(f"drain-{edge.id}", 300)
        if status:
            raise StartError(f"draining {edge.id}: {self.processes.last_words(f'drain-{edge.id}')}")
        self.processes.wait(edge.id, 20)

    def _run(self, name: str, arguments: list[str], environment: dict[str, str], host: Host) -> None:
        self.processes.start(
            name, [sys.executable, *arguments], {**self._environment, **self.environment, **environment}, host.namespace
        )

    # Talking to it

    def request(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        """One provisioning request: (status, JSON or None)."""
        headers = {"Authorization": f"Bearer {self.key if key is None else key}", "Content-Type": "application/json"}
        data = json.dumps(body) if body is not None else None
        return self._http(self.control, method, self.api_url + path, data, headers)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """As ``request``, but what isn't a success is raised."""
        status, answer = self.request(method, path, body)
        if status >= 300:
            raise StartError(f"{method} {path}: status {status}, {answer}")
        return answer

    def health(self, edge: Edge) -> Any:
        """The edge's /health, None if it doesn't answer."""
        try:
            return self._http(edge.host, "GET", f"http://{edge.metrics}/health")[1]
        except OSError:
            return None

    def events(self, edge: Edge) -> dict[str, float]:
        """The edge's event counters."""
        text = self._http(edge.host, "GET", f"http://{edge.metrics}/metrics", raw=True)[1]
        found = {}
        for line in text.splitlines():
            if line.startswith("sipwizard_events_total{"):
                found[line.partition('"')[2].partition('"')[0]] = float(line.rpartition(" ")[2])
        return found

    def _answers(self, url: str) -> bool:
        try:
            return self._http(self.control, "GET", url, raw=True)[0] == 200
        except OSError:
            return False

    def _http(
        self,
        host: Host,
        method: str,
        url: str,
        body: str | None = None,
        headers: dict[str, str] | None = None,
        raw: bool = False,
    ) -> tuple[int, Any]:
        def work() -> tuple[int, Any]:
            parts = urlsplit(url)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
            try:
                target = parts.path + (f"?{parts.query}" if parts.query else "")
                connection.request(method, target, body, headers or {})
                response = connection.getresponse()
                text = response.read().decode()
                return response.status, text if raw else (json.loads(text) if text else None)
            finally:
                connection.close()

        return in_namespace(host.namespace, work)

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

    def description(self) -> dict[str, Any]:
        """What ``.local/up.json`` holds."""
        return {
            "api": self.api_url,
            "key": self.key,
            "domain": DOMAIN,
            "tenant": self.tenant,
            "edges": [
                {"id": edge.id, "udp": edge.sip, "tcp": edge.sip, "tls": None, "wss": None, "metrics": edge.metrics}
                for edge in self.edges
            ],
            "accounts": [vars(account) for account in self.accounts.values()],
        }


def _key_in(text: str) -> str | None:
    return next((line for line in text.split() if line.startswith("sw_")), None)


def _check_port(kind: str, address: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as probe:
        if kind == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise PortInUse(
                f"{kind}://{address}:{port} can't be used ({error.strerror}); is another fleet or SIP server running? "
                f"'ss -lnp' shows which"
            ) from error


def loopback_fleet(
    directory: Path, base: str, edges: int, endpoint: str | None = None, say: Callable[[str], None] = lambda text: None
) -> DevelopmentFleet:
    """A fleet on loopback: edge-a at ``base``, edge-b at the next address, and so on."""
    prefix, _, last = base.rpartition(".")
    places = [Host(f"{prefix}.{int(last) + index}") for index in range(edges)]
    settings = {"provider_networks": ["127.0.0.0/8"]}
    made = [Edge(f"edge-{chr(ord('a') + index)}", place, dict(settings)) for index, place in enumerate(places)]
    return DevelopmentFleet(directory, Host(base), made, endpoint, say)


def up(
    edges: Annotated[int, typer.Option(min=1, max=20, help="How many edges.")] = 2,
    endpoint: Annotated[str | None, typer.Option(help="A DynamoDB-compatible endpoint instead of MiniStack.")] = None,
    address: Annotated[str, typer.Option(help="The first edge's address; the others follow it.")] = "127.0.0.1",
    local: Annotated[Path, typer.Option(help="Where up.json, logs and keys go.")] = ROOT / ".local",
) -> None:
    """Run a development fleet until Ctrl-C."""
    try:
        first = ipaddress.IPv4Address(address)
    except ValueError as error:
        raise typer.BadParameter(f"--address {address} isn't an IPv4 address") from error
    if not first.is_loopback or int(first) % 256 + edges > 255:
        raise typer.BadParameter(f"--address has to be on the loopback network, with room for {edges} edges after it")
    begun = time.monotonic()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())

    def say(text: str) -> None:
        if stop.is_set():
            raise StartError("stopped while starting")
        print(f"[{time.monotonic() - begun:5.1f} s] {text}", flush=True)

    fleet = loopback_fleet(local / "fleet", address, edges, endpoint, say)
    fleet.environment["PROBE_SECONDS"] = "30"
    path = local / "up.json"
    code = 0
    mine = False
    try:
        fleet.check_ports()  # before anything of a fleet that runs here is touched
        mine = True
        shutil.rmtree(local / "fleet", ignore_errors=True)
        fleet.directory.mkdir(parents=True)
        fleet.start()
        path.touch(mode=0o600)
        path.write_text(json.dumps(fleet.description(), indent=1) + "\n")
        _explain(fleet)
        ended = None
        while not stop.wait(0.5) and ended is None:
            ended = fleet.processes.ended()
        if ended:
            raise StartError(f"{ended} has ended: {fleet.processes.last_words(ended)}")
    except StartError as error:
        if not stop.is_set():
            print(f"up: {error}", file=sys.stderr)
            code = 1
    finally:
        if mine:
            path.unlink(missing_ok=True)
        fleet.stop()
    print("Stopped.")
    raise typer.Exit(code)


def _explain(fleet: DevelopmentFleet) -> None:
    print("\nReady. Point a softphone at it:")
    print(f"  domain    {DOMAIN}")
    for account in list(fleet.accounts.values())[:2]:
        print(f"  user      {account.username}    password  {account.password}")
    proxies = ", ".join(edge.sip for edge in fleet.edges)
    print(f"  address   {proxies}   (as outbound proxy, UDP or TCP; or as the domain itself)")
    print(f"  status    {fleet.api_url}/status")
    print(
        "Watch two phones do it with scripts/demo; everything else is in .local/up.json. Ctrl-C stops it.", flush=True
    )


if __name__ == "__main__":
    typer.run(up)
