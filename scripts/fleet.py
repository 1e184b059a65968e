"""A development fleet: MiniStack, the control plane and edges, as processes. ``scripts/up`` runs one in the foreground;
tests start theirs on loopback addresses or in namespaces of their own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from scripts.authority import DevelopmentAuthority
from scripts.fleet_client import FleetClient, answers
from scripts.fleet_parts import (
    CONTROL,
    DEVELOPMENT_CREDENTIALS,
    DOMAIN,
    MESH,
    MINISTACK,
    PREFIX,
    ROOT,
    SIP,
    SIPS,
    USERS,
    WSS,
    DevelopmentEdge,
    Host,
    PhoneAccount,
    development_client,
)
from scripts.processes import Processes, StartError, in_namespace, wait_for
from scripts.tables import create_tables


class PortInUse(StartError):
    """Something else has a port that is needed."""


class DevelopmentFleet:
    """``start`` brings everything up and ``stop`` takes it down; state is new each time. ``endpoint`` is another
    DynamoDB's, instead of a MiniStack of its own; ``control_endpoint`` is where the control plane finds its tables, if
    that isn't the endpoint itself. ``environment`` is for all its processes, beside what they need."""

    def __init__(
        self,
        directory: Path,
        control: Host,
        edges: Sequence[DevelopmentEdge],
        endpoint: str | None = None,
        say: Callable[[str], None] = lambda text: None,
        control_endpoint: str = "",
        environment: Mapping[str, str] | None = None,
        control_module: str = "lambdas",
        ca: DevelopmentAuthority | None = None,
        domain: str = DOMAIN,
    ) -> None:
        """``control_module`` serves the control plane, by ``python -m``. ``ca`` issues the edges' certificates, instead
        of one of the fleet's own."""
        self.domain = domain
        self.directory = directory
        self.control = control
        self.edges = list(edges)
        self.endpoint = endpoint or f"http://{control.address}:{MINISTACK}"
        self._own_dynamodb = endpoint is None
        self._control_endpoint = control_endpoint or self.endpoint
        self.api_url = f"http://{control.address}:{CONTROL}"
        self.client = FleetClient(control, self.api_url, "")  # with a key once there is one
        self.tenant = ""
        self.accounts: dict[str, PhoneAccount] = {}
        self.processes = Processes(directory)
        self._say = say
        self._control_module = control_module
        self.ca = ca or DevelopmentAuthority(directory / "ca")
        credentials = DEVELOPMENT_CREDENTIALS if self._own_dynamodb else {}
        self._environment = {
            **credentials,
            "TABLE_PREFIX": PREFIX,
            # What else it has may be a compiled core.
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            **(environment or {}),
        }

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
            listeners = ", ".join(f"{name} {at}" for name, at in edge.listeners.items())
            self._say(f"edge {edge.id} ready: {listeners or edge.address}")

    def stop(self) -> None:
        self.processes.stop_all()
        end_engines(self.directory)

    def check_ports(self) -> None:
        """Raises PortInUse."""
        wanted = [("tcp", self.control, CONTROL)]
        if self._own_dynamodb:
            wanted.append(("tcp", self.control, MINISTACK))
        for edge in self.edges:
            metrics, _, metrics_port = edge.metrics.rpartition(":")
            wanted += [("udp", edge.host, MESH), ("tcp", Host(metrics, edge.host.namespace), int(metrics_port))]
            for name, at in edge.listeners.items():
                address, _, number = at.rpartition(":")
                host = Host(address.strip("[]"), edge.host.namespace)
                wanted.append(("udp" if name.startswith("udp") else "tcp", host, int(number)))
        for kind, host, port in wanted:
            in_namespace(host.namespace, partial(check_port, kind, host.address, port))

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
            "SERVICES": "dynamodb,sqs,ses,route53",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "TMPDIR": str(scratch),
        }
        self._run(name, ["-m", "ministack"], environment, host)
        health = f"http://{host.address}:{MINISTACK}/_ministack/health"
        self.processes.wait_until(name, lambda: answers(self.control, health))

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

    def start_control(self, environment: Mapping[str, str] | None = None) -> None:
        """With ``environment`` beside what all have."""
        self.start_control_at("control", self.control, self._control_endpoint, environment or {})
        self._say(f"control plane ready at {self.api_url}")

    def _queues(self, host: Host, endpoint: str) -> dict[str, str]:
        """Where webhooks and pushes wait, if the endpoint has queues."""
        if not self._own_dynamodb:
            return {}

        def made() -> dict[str, str]:
            client = development_client("sqs", endpoint)
            names = {"HOOKS_QUEUE": f"{PREFIX}-hooks", "PUSH_QUEUE": f"{PREFIX}-push"}
            return {key: client.create_queue(QueueName=name)["QueueUrl"] for key, name in names.items()}

        return in_namespace(host.namespace, made)

    def start_control_at(self, name: str, host: Host, endpoint: str, environment: Mapping[str, str]) -> None:
        """A control plane over the tables at ``endpoint``."""
        key = self.directory / "secrets.key"
        if not key.exists():
            key.touch(0o600)
            key.write_bytes(base64.b64encode(os.urandom(32)))
        # Development domains are in nobody's DNS.
        own = {"SECRETS_KEY_FILE": str(key), "DOMAIN_PROOF": "off", "PROBE_SECONDS": "0"}
        own = {name: self._environment.get(name, value) for name, value in own.items()}
        environment = {**own, **self._queues(host, endpoint), **environment}
        arguments = ["-m", self._control_module, "--host", host.address, "--port", str(CONTROL), "--endpoint", endpoint]
        self._run(name, arguments, environment, host)
        url = f"http://{host.address}:{CONTROL}/v1/keys"  # the document would be made for it
        self.processes.wait_until(name, lambda: answers(self.control, url))

    def provision(self) -> None:
        """A key, a tenant, a domain and accounts."""
        self.client = replace(self.client, key=self.make_key())
        self.tenant = self.client.api("POST", "/v1/tenants", {"name": "Development"})["id"]
        self._once("POST", "/v1/domains", {"tenant": self.tenant, "name": self.domain, "default": True})
        for user in USERS:
            made = self._once("POST", "/v1/accounts", {"username": user, "domain": self.domain})
            if made is None:
                made = self.client.api("POST", f"/v1/accounts/{user}@{self.domain}/password", {})
            self.accounts[user] = PhoneAccount(made["aor"], made["username"], made["password"])
        self._say(f"domain {self.domain} with accounts {', '.join(USERS)}")

    def make_key(self) -> str:
        """An administration's API key."""
        self._run("make-key", ["-m", "lambdas", "make-key", "--endpoint", self.endpoint], {}, self.control)
        log = self.directory / "make-key.log"
        found = wait_for("the first API key", lambda: _key_in(log.read_text()), 20)
        log.unlink()  # the key is shown once, not kept in logs
        self.processes.stop("make-key")
        return found

    def _once(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """As ``api``, but None where it exists already (with an endpoint that keeps its data)."""
        status, answer = self.client.request(method, path, body)
        if status == 409:
            return None
        if status >= 300:
            raise StartError(f"{method} {path}: {answer}")
        return answer

    def write_config(self, edge: DevelopmentEdge) -> Path:
        """``ID.toml`` for ``python -m edge``."""
        path = self.directory / f"{edge.id}.toml"
        settings: dict[str, Any] = {
            "id": edge.id,
            "address": edge.address,
            "listen": [f"{name.rstrip('6')}://{at}" for name, at in edge.listeners.items()],
            "mesh": f"{edge.host.address}:{MESH}",
            "metrics": edge.metrics,
            "control": [self.api_url],
            "key_file": f"{edge.id}.key",
            **self._certificate_settings(edge),
            **edge.settings,
        }
        path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in settings.items()))
        return path

    def _certificate_settings(self, edge: DevelopmentEdge) -> dict[str, Any]:
        if not edge.listeners:
            return {}
        addresses = [at for at in (edge.address, edge.address6) if at]
        chain, key = self.ca.issue([edge.name, self.domain, *addresses], self.directory)
        return {"certificates": [{"chain": chain.name, "key": key.name}]}

    def start_edge(self, edge: DevelopmentEdge) -> None:
        """Start an edge, registering it first if it is new."""
        path = self.write_config(edge)
        self.register_edge(edge)
        self._run(edge.id, ["-m", "edge", "--config", str(path)], edge.environment, edge.host)

    def register_edge(self, edge: DevelopmentEdge) -> None:
        """Tell the control plane of an edge that is new."""
        from edge.control.identity import Identity

        if not (self.directory / f"{edge.id}.key").exists():
            public_key = Identity.load_or_make(edge.id, self.directory / f"{edge.id}.key").public_key
            if self.client.request("GET", f"/v1/edges/{edge.id}")[0] == 200:
                self.client.api("DELETE", f"/v1/edges/{edge.id}")
            body = {"id": edge.id, "public_key": public_key, "addresses": edge.may_hold or [edge.address]}
            places = {"places": edge.places} if edge.places else {}  # control planes of before know none
            self.client.api("POST", "/v1/edges", {**body, **places})

    def wait_ready(self, edge: DevelopmentEdge) -> None:
        """Until it holds its address, its media engine takes orders, and it has mesh links to and from every other
        running edge. An edge that has been killed is reached again some milliseconds after it reaches others: they find
        out by that that it is another."""
        others = sum(other is not edge for other in self.edges)

        def ready() -> bool:
            health = self.client.health(edge)
            if not health or not health["ready"] or not health.get("media_ready", True):  # old ones don't tell
                return False
            linked = set(health["mesh"]) & set(health.get("reached_by", health["mesh"]))  # some don't tell
            return len(linked) >= others

        self.processes.wait_until(edge.id, ready, 30)

    def drain(self, edge: DevelopmentEdge) -> None:
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
        self.processes.start(name, [sys.executable, *arguments], {**self._environment, **environment}, host.namespace)


def end_engines(directory: Path) -> None:
    """Of edges whose state is in ``directory``: media engines outlive the edges, and whoever has started these."""
    for file in directory.glob("**/engines/*.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text(encoding="ascii"))
            if str(file.parent).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)


def _key_in(text: str) -> str | None:
    return next((line for line in text.split() if line.startswith("sw_")), None)


def _toml(value: Any) -> str:
    """JSON's strings, numbers and lists of them are TOML's."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(one)}' for key, one in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def check_port(kind: str, address: str, port: int) -> None:
    """Raises PortInUse."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as probe:
        if kind == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            at = f"[{address}]" if ":" in address else address
            raise PortInUse(
                f"{kind}://{at}:{port} can't be used ({error.strerror}); is another fleet or SIP server running? "
                f"'ss -lnp' shows which"
            ) from error


def loopback_fleet(
    directory: Path,
    base: str,
    edges: int,
    endpoint: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    control_endpoint: str = "",
    environment: Mapping[str, str] | None = None,
    control_module: str = "lambdas",
    ca: DevelopmentAuthority | None = None,
    origins: Sequence[str] = (),
    ipv6: bool = False,
    media: bool = False,
) -> DevelopmentFleet:
    """A fleet on loopback: edge-a at ``base``, edge-b at the next address, and so on. ``ipv6``: edge-a has IPv6's only
    loopback address too, if nobody else does. ``media``: they relay, where rtpengine is installed. Pages of ``origins``
    may have WebSockets."""
    prefix, _, last = base.rpartition(".")
    places = [Host(f"{prefix}.{int(last) + index}") for index in range(edges)]
    settings: dict[str, Any] = {"provider_networks": ["127.0.0.0/8"], "origins": list(origins)}
    if media:
        settings["media"] = "rtpengine"
    made = [
        DevelopmentEdge(f"edge-{chr(ord('a') + index)}", place, dict(settings)) for index, place in enumerate(places)
    ]
    if ipv6 and _loopback6_is_free():
        made[0].settings["address6"] = "::1"
    return DevelopmentFleet(
        directory, Host(base), made, endpoint, say, control_endpoint, environment, control_module, ca
    )


def _loopback6_is_free() -> bool:
    try:
        for kind, port in (("udp", SIP), ("tcp", SIP), ("tcp", SIPS), ("tcp", WSS)):
            check_port(kind, "::1", port)
    except (OSError, PortInUse):  # without IPv6 there is no such socket at all
        return False
    return True
