"""A provider in a World: a registrar that asks for digests, and a user agent that calls and is called."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from edge.proxy.stack.events import ProvidersAssigned, Received
from edge.sip.flow import Flow
from edge.sip.headers import parse_digest
from edge.sip.message import Request, Response, make_response
from edge.sip.parser import parse
from lambdas.decisions.provider import StoredProvider, StoredRoute, TenantSettings, Way
from tests.support.agent import Agent, unique
from tests.support.world import LATENCY, Node, World

Answer = Callable[[Request], Response]


def account(name: str = "voip", tenant: str = "t1", **kwargs) -> StoredProvider:
    """A provider account as the control plane has it."""
    return StoredProvider(
        **{
            "id": f"{tenant}/{name}",
            "tenant": tenant,
            "host": "sip.voip.test",
            "username": "4420",
            "password": "secret",
            "contact_user": f"contact{name}",
            "call_id": f"call-id-of-{name}",
            "incoming": ("bob@example.com",),
            "version": 1,
            **kwargs,
        }
    )


def provider_world(**kwargs) -> World:
    """A World whose tenant calls out through the account "voip", which nobody has yet."""
    made = World(**kwargs)
    made.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    return made


def registered_provider(world: World) -> ProviderDouble:
    """One that edge-a has registered with, as "voip"."""
    made = ProviderDouble(world)
    assign(world, account())
    world.run(2)
    return made


class ProviderDouble:
    """``challenges`` are the (header, parameters) that each new request must answer; ``script`` answers REGISTERs
    before the registrar itself does."""

    nat = None

    def __init__(self, world: World, host: str = "198.51.100.1", name: str = "sip.voip.test", transport="udp") -> None:
        self.world = world
        self.place = (host, 5060)
        self.transport = transport
        self.registers: list[Request] = []
        self.script: list[Answer | None] = []
        self.expires = 3600
        self.realm = "voip.test"
        self.algorithm = "MD5"
        self.password = "secret"
        self.nonce = unique("nonce")
        self.silent = False
        self.asks = True
        self.pings = 0
        self.agent = Agent("4420", name, "secret", host, 5060, lambda data: None)
        self.take_next = self.agent.take
        self.agent.take = self.take  # type: ignore[method-assign]
        world.phones[self.place] = self  # type: ignore[assignment]
        world.servers.setdefault(name, []).append((transport, *self.place))

    # In

    def take(self, data: bytes) -> None:
        if not data.strip():
            self.pings += 1
            return
        message = parse(data)
        if self.silent:
            return
        if isinstance(message, Request) and message.method == "REGISTER":
            self.registers.append(message)
            scripted = self.script.pop(0) if self.script else None
            self.answer(scripted(message) if scripted else self.register(message))
        elif (
            isinstance(message, Request) and self.asks and message.method in ("INVITE", "BYE") and self.refuses(message)
        ):
            self.answer(self.challenge(message, 407))
        else:
            self.take_next(data)

    def register(self, request: Request) -> Response:
        if self.asks and self.refuses(request):
            return self.challenge(request, 401)
        contact = (request.get("contact") or "").split(";expires")[0]
        seconds = min(self.expires, int(request.get("expires") or 0))
        return make_response(request, 200, to_tag="r", headers=[("contact", f"Contact: {contact};expires={seconds}")])

    def challenge(self, request: Request, status: int, stale: str = "") -> Response:
        name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
        value = f'Digest realm="{self.realm}", nonce="{self.nonce}", qop="auth", algorithm={self.algorithm}{stale}'
        return make_response(request, status, to_tag="c", headers=[(name.lower(), f"{name}: {value}")])

    def refuses(self, request: Request) -> bool:
        """Whether the request doesn't answer our nonce as it should."""
        for key in ("authorization", "proxy-authorization"):
            for value in request.values(key):
                params = parse_digest(value) or {}
                if params.get("realm") == self.realm and params.get("nonce") == self.nonce:
                    return params["response"] != self.expected(request.method, params)
        return True

    def expected(self, method: str, params: dict[str, str]) -> str:
        hasher = hashlib.md5 if self.algorithm == "MD5" else hashlib.sha256

        def digest(text: str) -> str:
            return hasher(text.encode()).hexdigest()

        ha1 = digest(f"{params['username']}:{self.realm}:{self.password}")
        ha2 = digest(f"{method}:{params['uri']}")
        return digest(f"{ha1}:{self.nonce}:{params['nc']}:{params['cnonce']}:auth:{ha2}")

    # Out

    def send(self, data: bytes, edge: str = "edge-a") -> None:
        node = self.world.nodes[edge]
        flow = self.flow_to(node) or Flow(node.address, 5060, self.transport, *self.place)
        self.world.after(LATENCY, lambda: node.handle(Received(flow, data)))

    def flow_to(self, node: Node) -> Flow | None:
        """That of the connection which the edge has made here last."""
        made = (one.flow for one in reversed(node.sent) if (one.flow.host, one.flow.remote_port) == self.place)
        return next((flow for flow in made if flow.transport == "tls"), None)

    def answer(self, response: Response) -> None:
        self.send(response.to_bytes(), self._edge_of(response.get("via") or ""))

    def _edge_of(self, text: str) -> str:
        return next((name for name, node in self.world.nodes.items() if f" {node.address}:" in text), "edge-a")

    @property
    def contact(self) -> str:
        """Where we were told to send calls, without brackets."""
        return (self.registers[-1].get("contact") or "").split(">")[0].strip("<")


def assign(world: World, provider: StoredProvider, edge: str = "edge-a") -> None:
    """Have ``edge`` register it, and calls go out through it."""
    node = world.nodes[edge]
    name = provider.id.rpartition("/")[2]
    world.control.ways[name] = Way(
        provider, node.address, {"udp": 5060, "tcp": 5060, "tls": 5061}, registered=provider.registers
    )
    node.handle(ProvidersAssigned(node.address, [provider.account], [], True))
