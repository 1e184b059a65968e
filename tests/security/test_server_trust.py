"""TLS connections that we make: nothing is sent to whoever isn't the server that was meant (RFC 5922), and the reason is
said."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import uvloop

from edge.sip.flow import Flow
from edge.sip.server_names import server_name
from edge.transport.server_trust import ServerTrust, fault_of
from edge.transport.sockets import Listener, Sockets
from tests.support.certificates import Pair, self_signed

HOST = "sip.voip.test"
REQUEST = b"OPTIONS sip:sip.voip.test SIP/2.0\r\nContent-Length: 0\r\n\r\n"
PONG = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"


class User:
    """What the sockets bring."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple] = asyncio.Queue()

    def message(self, flow, data):
        self.got.put_nowait(("message", flow, data))

    def closed(self, flow, why=""):
        self.got.put_nowait(("closed", flow, why))

    def kept(self, flow):
        return False

    def proven(self, flow):
        return True


async def reach(pair: Pair | None, trust: ServerTrust, *servers: str) -> tuple[list[tuple], list[bytes], list[str]]:
    """What comes of a request to each of ``servers``, all of them at one address; what the one that is there has got,
    and by which names it was asked for."""
    heard: list[bytes] = []
    names: list[str] = []

    async def serve(reader, writer):
        try:
            if pair is None:
                assert REQUEST not in await reader.read(1000)
                writer.write(b"SIP/2.0 400 Bad Request\r\n\r\n")
            else:
                heard.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(PONG)
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()

    context = None
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = lambda _, name, __: names.append(name)
        with pair.as_files() as files:
            context.load_cert_chain(*files)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    user = User()
    sockets = Sockets(user, lambda *_: None, server_trust=trust)
    await sockets.open([Listener("udp", "127.0.0.1", 0, "203.0.113.11")])
    try:
        for name in servers:
            assert sockets.send(Flow("203.0.113.11", 5061, "tls", "127.0.0.1", port, 0, name), REQUEST)
        found = [await asyncio.wait_for(user.got.get(), 5) for _ in servers]
    finally:
        sockets.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)  # for what has been cut off to end
    return found, heard, names


def trusting(*pairs: Pair) -> ServerTrust:
    trust = ServerTrust()
    for pair in pairs:
        trust.learn(pair.chain)
    return trust


@pytest.mark.parametrize(
    "pair",
    [
        self_signed(HOST),
        self_signed("other.test", HOST.upper()),
        self_signed("host7.voip.test", uris=(f"sip:{HOST}",)),
        self_signed(common_name=HOST),
    ],
    ids=["dns", "second", "uri", "common-name"],
)
def test_the_server_that_is_meant_gets_what_is_for_it(pair):
    name = server_name(HOST, pair.chain)
    ((kind, flow, data),), heard, names = uvloop.run(reach(pair, trusting(pair), name))
    assert (kind, flow.server, data) == ("message", name, PONG)
    assert heard == [REQUEST]
    assert names == [HOST]  # SNI


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (self_signed("other.test", "third.test"), f"the certificate is for other.test, third.test, not for {HOST}"),
        (self_signed("*.voip.test"), f"the certificate is for *.voip.test, not for {HOST}"),
        (self_signed(HOST, uris=("sip:other.test",)), f"the certificate is for other.test, not for {HOST}"),
        (self_signed(uris=(f"sip:me@{HOST}", f"sips:{HOST}")), f"the certificate is for nobody, not for {HOST}"),
        (self_signed("other.test", common_name=HOST), f"the certificate is for other.test, not for {HOST}"),
        (self_signed(HOST, days=-1), f"the certificate of {HOST} has expired"),
    ],
    ids=["other", "wildcard", "uri", "user", "common-name", "expired"],
)
def test_nobody_else_gets_anything(pair, why):
    ((kind, _, said),), heard, _ = uvloop.run(reach(pair, trusting(pair), server_name(HOST, pair.chain)))
    assert (kind, said, heard) == ("closed", why, [])


def test_a_certificate_that_nobody_vouches_for_is_nobodys():
    pair, other = self_signed(HOST), self_signed("ca.test")
    trust = trusting(other)
    for name in (HOST, server_name(HOST, other.chain)):
        ((kind, _, why),), heard, _ = uvloop.run(reach(pair, trust, name))
        assert (kind, heard) == ("closed", [])
        assert why.startswith(f"the certificate of {HOST} is signed by an unknown CA")


def test_whom_one_account_trusts_another_need_not():
    """Two accounts name the same server; only one has a CA of its own. Each has a connection of its own."""
    pair = self_signed(HOST)
    mine = server_name(HOST, pair.chain)
    found, heard, _ = uvloop.run(reach(pair, trusting(pair), mine, HOST))
    assert {(kind, flow.server) for kind, flow, _ in found} == {("message", mine), ("closed", HOST)}
    assert heard == [REQUEST]


def test_a_ca_that_has_not_been_heard_of_vouches_for_nobody():
    pair = self_signed(HOST)
    ((kind, _, why),), heard, _ = uvloop.run(reach(pair, ServerTrust(), server_name(HOST, pair.chain)))
    assert (kind, why, heard) == ("closed", "the account's own CA isn't known at this edge yet", [])


def test_a_server_without_tls_gets_nothing_readable():
    ((kind, _, why),), heard, _ = uvloop.run(reach(None, ServerTrust(), HOST))
    assert (kind, heard) == ("closed", [])
    assert why


def test_the_edges_own_cas_count_beside_the_systems(tmp_path):
    pair = self_signed(HOST)
    chain, _ = pair.write(tmp_path / "ca", "voip")
    ((kind, *_),), *_ = uvloop.run(reach(pair, ServerTrust(chain), HOST))
    assert kind == "message"


def test_nothing_is_dialled_by_tls_without_a_name():
    async def run():
        sockets = Sockets(User(), lambda *_: None)
        await sockets.open([Listener("udp", "127.0.0.1", 0, "203.0.113.11")])
        sent = sockets.send(Flow("203.0.113.11", 5061, "tls", "127.0.0.1", 5061), REQUEST)
        sockets.close()
        await asyncio.sleep(0)
        return sent

    assert uvloop.run(run()) is False


def test_an_address_is_a_name_where_the_account_has_one():
    certificate = {"subjectAltName": (("IP Address", "2001:DB8:0:0:0:0:0:1"), ("DNS", HOST))}
    assert fault_of(certificate, "2001:db8::1") == ""
    assert fault_of(certificate, HOST) == ""
    assert fault_of(certificate, "2001:db8::2").endswith("not for 2001:db8::2")
    assert fault_of({}, HOST) == f"the certificate is for nobody, not for {HOST}"
