"""What scenarios of relayed media need: phones that write descriptions, and how a call is seen by its engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edge.media.orders import MediaOrder
from edge.sip.message import Request, Response
from tests.support.world import Phone, World

TYPE = "Content-Type: application/sdp"


def sdp(port: int, address: str = "10.0.0.9", profile: str = "RTP/AVP", *lines: str) -> bytes:
    head = ["v=0", f"o=- 1 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    return "\r\n".join([*head, f"m=audio {port} {profile} 8", *lines, ""]).encode()


WEB = sdp(
    9,
    "0.0.0.0",
    "UDP/TLS/RTP/SAVPF",
    "a=rtcp:9 IN IP4 0.0.0.0",
    "a=ice-ufrag:abcd",
    "a=ice-pwd:0123456789012345678901",
    "a=fingerprint:sha-256 00:11",
    "a=setup:actpass",
    "a=rtcp-mux",
)
"""As a browser writes it before it has any candidate."""


def relaying(world: World) -> Iterator[World]:
    """``world``, in which nothing may be left once the calls of a test have ended."""
    yield world
    world.run(40)
    for engine in world.engines.values():
        assert engine.sessions == {}
        assert engine.ports == 0
        assert engine.astray == []


def media_said(world: World, **words: object) -> None:
    """Have the tenant say this: ``media``, ``site``."""
    world.control.settings = replace(world.control.settings, **words)  # type: ignore[arg-type]


def orders(world: World, edge: str = "edge-a") -> list[MediaOrder]:
    """What its engine was told to describe so far."""
    return world.engines[world.nodes[edge].address].orders


def roles(world: World, edge: str = "edge-a") -> list[str]:
    return [order.role for order in orders(world, edge)]


def place(message: Request | Response) -> tuple[str, int]:
    """Where a description says that media are to go."""
    text = message.body.decode()
    return text.partition("c=IN IP4 ")[2].split()[0], int(text.partition("m=audio ")[2].split()[0])


def invited(world: World, phone: Phone, uri: str, body: bytes, headers: tuple[str, ...] = ()) -> Request:
    """An INVITE through the challenge."""
    lines = [f"Contact: {phone.agent.contact}", *([TYPE] if body else []), *headers]
    invite = phone.agent.request("INVITE", uri, headers=lines, body=body, call_id=phone.agent.fixed_call_id)
    phone.send(invite.to_bytes())
    challenge = world.wait(lambda: phone.agent.final(invite))
    phone.ack_refusal(invite, challenge)
    invite = phone.agent.authorize(invite, challenge)
    phone.send(invite.to_bytes())
    return invite


def rung(world: World, phone: Phone, number: int = 0) -> Request:
    return world.wait(lambda: phone.agent.requests("INVITE")[number:])[0]


def says(phone: Phone, request: Request, status: int, body: bytes = b"", tag: str = "", *more: str) -> Response:
    """Answer with a description."""
    response = phone.agent.response(request, status, tag, body=body)
    if body:
        response.headers.insert(-1, ("content-type", TYPE))
    response.headers[-1:-1] = [(line.partition(":")[0].lower(), line) for line in more]
    phone.send(response.to_bytes())
    return response
