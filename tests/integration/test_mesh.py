"""The mesh on real sockets: who gets in, who doesn't, and what happens when a peer dies."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial

import pytest
from aioquic.quic.connection import QuicConnection
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.control.identity import Identity
from edge.mesh.frames import (
    Frame,
    FrameError,
    FrameReader,
    Hello,
    LinkProof,
    LinkWelcome,
    MediaAnswered,
    MediaAsked,
    Nonce,
    Offer,
    PhoneAwake,
    ReceivedFor,
    SendOn,
    SessionCopied,
    SessionRefreshed,
    SessionsLeft,
    SessionsTold,
    SessionsWanted,
    SummaryChanged,
    TransactionKeys,
    TrustCa,
    encode,
)
from edge.mesh.link import ClientLink, client_configuration, signed_proof
from edge.mesh.outbox import PATIENCE
from edge.sip.flow import Flow
from tests.support.mesh import Member, anonymous, opened, pair, raw, until

pytestmark = pytest.mark.integration

KEYS = [("z9hG4bK1", "203.0.113.7:5060", "INVITE"), ("\udcff", "", "BYE")]
FLOW = Flow("203.0.113.12", 5060, "udp", "198.51.100.1", 5060)
SERVER = "sip.voip.test/0123456789abcdef"


def test_requests_and_responses_cross_in_one_hop():
    async def work(one: Member, two: Member) -> None:
        big = b"x" * 65_000
        assert one.mesh.send(FLOW, big, "ref 1")
        assert two.mesh.pass_on("edge-a", FLOW, b"answer")
        await until(lambda: two.user.asked and one.user.responses)
        assert two.user.asked == [(FLOW, 3, big)]
        assert one.user.responses == [b"answer"]
        two.user.holds = False
        assert one.mesh.send(FLOW, b"y", "ref 2")
        await until(lambda: one.user.failed == ["ref 2"])

    pair(work)


def test_who_sends_for_us_hears_first_which_ca_the_server_has():
    async def work(one: Member, two: Member) -> None:
        flow = FLOW._replace(transport="tls", server=SERVER)
        for ca in ("PEM", ""):
            assert one.mesh.send(flow, b"REGISTER", "", ca)
        await until(lambda: len(two.user.asked) == 2)
        assert [asked[0] for asked in two.user.asked] == [flow, flow]
        assert two.user.cas == ["PEM"]

    pair(work)


def test_peers_hear_what_waits_for_an_account():
    async def work(one: Member, two: Member) -> None:
        two.mesh.tell_summary("bob@example.com", "t1", "Messages-Waiting: yes\r\n")
        await until(lambda: one.user.summary)
        assert one.user.summary == ("bob@example.com", "t1", "Messages-Waiting: yes\r\n")

    pair(work)


def test_peers_hear_of_a_connection_that_has_ended():
    async def work(one: Member, two: Member) -> None:
        stream = FLOW._replace(transport="tcp", connection=7)
        two.mesh.tell_closed(stream, ("bob@example.com",))
        two.mesh.tell_streams_end("203.0.113.12")
        await until(lambda: one.user.ending == ["203.0.113.12"])
        assert one.user.closed == [(stream, ("bob@example.com",))]

    pair(work)


def test_an_order_for_an_engine_is_answered_by_who_holds_the_address():
    async def work(one: Member, two: Member) -> None:
        assert one.mesh.ask_media("ref 1", FLOW.address, b"order")
        await until(lambda: one.user.media)
        assert one.user.media == ("ref 1", b"order at 203.0.113.12")
        assert not one.mesh.ask_media("ref 2", "203.0.113.99", b"order")
        await two.mesh.close()
        await until(lambda: not one.mesh.connected())
        assert not one.mesh.ask_media("ref 3", FLOW.address, b"order")

    pair(work)


def test_who_is_in_the_same_region():
    async def run():
        here, peer, stranger = (
            Member("edge-a", "127.0.0.1"),
            Member("edge-b", "127.0.0.2"),
            Member("edge-c", "127.0.0.3"),
        )
        regions = zip((here, peer, stranger), ("eu-west-1", "eu-west-1", "eu-central-1"), strict=True)
        here.mesh.update([dataclasses.replace(one.peer(), region=region) for one, region in regions])
        assert here.mesh.near() == {"edge-b"}
        await here.mesh.close()

    asyncio.run(run())


def test_no_link_no_holder():
    async def work(one: Member, two: Member) -> None:
        assert not one.mesh.send(FLOW._replace(address="203.0.113.99"), b"", "r")
        assert not one.mesh.pass_on("edge-z", FLOW, b"")

    pair(work)


def test_what_is_sent_while_a_link_is_made_anew_arrives_once():
    async def work(one: Member, two: Member) -> None:
        one.mesh._links["edge-b"].refuse("stumbled")
        for _ in range(2):  # a request is sent again meanwhile
            assert one.mesh.send(FLOW, b"BYE", "ref 1")
        assert one.mesh.pass_on("edge-b", FLOW, b"answer")
        await until(lambda: two.user.asked and two.user.responses)
        assert two.user.asked == [(FLOW, 3, b"BYE")]
        assert two.user.responses == [b"answer"]
        assert one.user.failed == []

    pair(work)


def test_what_waits_for_a_link_that_is_not_made_again_fails_in_time():
    async def work(one: Member, two: Member) -> None:
        await two.mesh.close()
        one.mesh._links["edge-b"].refuse("stumbled")
        assert one.mesh.send(FLOW, b"BYE", "ref 1")
        took = await until(lambda: one.user.failed == ["ref 1"])
        assert PATIENCE - 0.2 < took < PATIENCE + 1
        assert not one.mesh.send(FLOW, b"BYE", "ref 2")

    pair(work)


def test_peers_are_asked_and_told():
    async def work(one: Member, two: Member) -> None:
        assert one.mesh.find("ref", "bob@example.com", "t1") == 1
        one.mesh.announce("203.0.113.11", 7)
        assert one.mesh.tell("edge-b", Offer("203.0.113.11", 7, "good"))
        assert one.mesh.tell("edge-b", Offer("203.0.113.13", 7, "bad"))
        assert one.mesh.tell("edge-b", TransactionKeys("203.0.113.11", KEYS))
        await until(lambda: one.user.found and two.user.keys and one.user.declines)
        assert one.user.found == [("ref", b"bob@example.com of t1")]
        assert two.user.announcements == [("edge-a", "203.0.113.11", 7)]
        assert one.user.declines == [("203.0.113.13", "not with that consent")]
        assert two.user.keys == [("edge-a", KEYS)]
        assert not one.mesh.tell("edge-z", TransactionKeys("203.0.113.11", []))

    pair(work)


def test_media_sessions_are_copied_and_asked_for():
    async def work(one: Member, two: Member) -> None:
        copied = SessionCopied("203.0.113.11", 7, "call", b"packed")
        assert one.mesh.tell("edge-b", copied)
        assert one.mesh.tell("edge-b", SessionsLeft("203.0.113.12"))
        await until(lambda: len(two.user.sessions) == 2)
        assert two.user.sessions == [copied, SessionsLeft("203.0.113.12")]
        assert one.mesh.tell("edge-b", SessionsWanted("203.0.113.13"))
        await until(lambda: len(one.user.sessions) == 2)
        assert one.user.sessions == [
            SessionCopied("203.0.113.13", 7, "call", b"saved"),
            ("edge-b", SessionsTold("203.0.113.13", 7)),
        ]

    pair(work)


def test_an_announcement_is_ahead_of_the_fleet_list_and_an_older_one_is_not_believed():
    async def work(one: Member, two: Member) -> None:
        address = "203.0.113.50"
        flow = FLOW._replace(address=address)
        assert not one.mesh.send(flow, b"x", "r")
        two.mesh.announce(address, 9)
        await until(lambda: one.user.announcements)
        assert one.mesh.send(flow, b"x", "r")
        one.mesh._note_holder("edge-z", address, 8)
        assert one.mesh.send(flow, b"y", "r")
        await until(lambda: len(two.user.asked) == 2)
        assert [epoch for _, epoch, _ in two.user.asked] == [9, 9]

    pair(work)


def test_a_stranger_without_certificate_gets_nowhere():
    async def work(one: Member, two: Member) -> None:
        for opening in ([], [SendOn(FLOW, 3, "r", b"INVITE")], [ReceivedFor(FLOW, b"SIP/2.0 200 OK")], [LinkWelcome()]):
            client = await raw(two.host, anonymous(), one.host)
            for frame in opening:
                client.say(frame)
            reason = await asyncio.wait_for(client.closed, 4)
            assert "not proven" in reason
        assert not two.user.asked
        assert not two.user.responses

    pair(work)


def test_a_rogue_certificate_and_key_get_nowhere():
    async def work(one: Member, two: Member) -> None:
        rogue = Identity("edge-a", Ed25519PrivateKey.generate())
        configuration = anonymous()
        configuration.certificate, configuration.private_key = rogue.certificate, rogue.key
        for name in ("edge-a", "edge-z"):
            client = await raw(two.host, configuration, one.host)
            client.say(Hello(name, "b9"))
            await until(lambda client=client: client.frames)
            nonce = client.frames[0].nonce
            client.say(LinkProof(rogue.key.sign(signed_proof(two.identity.certificate_der, name, nonce))))
            client.say(SendOn(FLOW, 3, "r", b"INVITE"))
            assert "not proven" in await asyncio.wait_for(client.closed, 3)
        assert not two.user.asked

    pair(work)


def test_a_recorded_proof_gets_nowhere():
    """What a true edge once said, said again: to the same server, and to another one."""

    async def work(one: Member, two: Member) -> None:
        first = await raw(two.host, anonymous(), one.host)
        first.say(Hello("edge-a", "b1"))
        await until(lambda: first.frames)
        recorded = one.identity.key.sign(signed_proof(two.identity.certificate_der, "edge-a", first.frames[0].nonce))
        first.say(LinkProof(recorded))
        await until(lambda: any(isinstance(frame, LinkWelcome) for frame in first.frames))
        for host, source in ((two.host, one.host), (one.host, two.host)):
            again = await raw(host, anonymous(), source)
            again.say(Hello("edge-a", "b1"))
            await until(lambda again=again: again.frames)
            again.say(LinkProof(recorded))
            assert "not proven" in await asyncio.wait_for(again.closed, 3)

    pair(work)


def test_a_server_with_another_certificate_is_not_talked_to():
    async def work(one: Member, two: Member) -> None:
        impostor = Member("edge-b", two.host)
        await two.mesh.close()
        await asyncio.sleep(0.01)  # for its socket to close
        await impostor.mesh.open(two.host, 5070, impostor.user)
        impostor.mesh.update([one.peer(), impostor.peer()])
        try:
            await until(lambda: not one.mesh.connected())
            await asyncio.sleep(2)
            assert not one.mesh.connected()
            quic = QuicConnection(configuration=client_configuration("edge-b", two.certificate))
            make = partial(ClientLink, quic, "edge-a", "b1", one.identity.key, b"", lambda frame: None)
            transport, link = await asyncio.get_running_loop().create_datagram_endpoint(make, local_addr=(one.host, 0))
            opened.append(transport)
            link.connect((two.host, 5070))
            assert await asyncio.wait_for(link.ended, 3)
            assert not link.up
        finally:
            await impostor.mesh.close()

    pair(work)


def test_an_edge_taken_off_the_fleet_list_is_cut_off():
    async def work(one: Member, two: Member) -> None:
        two.mesh.update([two.peer()])
        one.mesh.send(FLOW, b"x", "r")
        await until(lambda: not one.mesh.connected())
        assert not two.user.asked

    pair(work)


def test_a_dead_peer_is_noticed_within_3_s_and_reached_again():
    async def work(one: Member, two: Member) -> None:
        await two.mesh.close()
        took = await until(lambda: not one.mesh.connected())
        assert took <= 3
        again = Member("edge-b", two.host, "b2", two.identity.key)
        await again.mesh.open(two.host, 5070, again.user)
        again.mesh.update([one.peer("203.0.113.11"), again.peer("203.0.113.12")])
        await until(lambda: one.mesh.connected() == ["edge-b"])
        await again.mesh.close()

    pair(work)


def test_frames_round_trip_at_any_split():
    frames: list[Frame] = [
        Hello("edge-a", "b"),
        Nonce(b"n" * 32),
        LinkProof(b"p" * 64),
        LinkWelcome(),
        SendOn(FLOW, 2**40, "ref x", b"\x00\xff"),
        SendOn(FLOW._replace(host="2001:db8::1", transport="tls", connection=2**32 - 1), 1, "", b""),
        SendOn(FLOW._replace(transport="tls", server=SERVER), 1, "ref", b"REGISTER"),
        ReceivedFor(FLOW._replace(host="2001:db8::1", transport="tls", server="x" * 255), b"SIP"),
        TrustCa("-----BEGIN CERTIFICATE-----\n"),
        ReceivedFor(FLOW, b"SIP"),
        MediaAsked("ref", "203.0.113.12", b"\x00order"),
        MediaAnswered("ref", b""),
        TransactionKeys("203.0.113.11", KEYS),
        SummaryChanged("bob@example.com", "t1", "Messages-Waiting: yes\r\n"),
        SessionRefreshed("203.0.113.11", "t1", "0123456789abcdef", 2**33, 1800),
        PhoneAwake(b'[{"uri": "sip:bob@10.0.0.9"}]'),
        SessionCopied("203.0.113.11", 2**40, "call", b"\x78\x9c"),
        SessionCopied("203.0.113.11", 7, "", b""),
        SessionsWanted("203.0.113.11"),
        SessionsTold("203.0.113.11", 7),
        SessionsLeft("203.0.113.11"),
    ]
    stream = b"".join(encode(frame) for frame in frames)
    for size in (1, 2, 7, len(stream)):
        reader, found = FrameReader(), []
        for start in range(0, len(stream), size):
            found += reader.feed(stream[start : start + size])
        assert found == frames


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff\x01", b"\0\0\0\0\x01", b"\0\0\0\x03\x05\0\x09", b"\0\0\0\x02\x01\xff", b"\0\0\0\x05\x0d\0\0[3"],
)
def test_bad_frames_end_the_link(data):
    with pytest.raises(FrameError):
        FrameReader().feed(data)


def test_unknown_kinds_are_ignored():
    assert FrameReader().feed(b"\0\0\0\x02\x63x" + encode(LinkWelcome())) == [LinkWelcome()]
