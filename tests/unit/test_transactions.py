"""The four machines: every transition of every table is taken, and what it does is what RFC 3261 and RFC 6026 say."""

from __future__ import annotations

import pytest

from edge.sip.flow import Flow
from edge.sip.message import Request, Response, make_response
from edge.sip.parser import parse
from edge.sip.timers import T1, T2, T4, TIMER_B, TIMER_D, TIMER_H, TIMER_J, TIMER_L, TIMER_M, TimerHeap
from edge.sip.transaction import InviteClient, InviteServer, Machine, NonInviteClient, NonInviteServer, TransactionState
from edge.sip.transaction.server import KeptOctets

UDP = Flow("203.0.113.1", 5060, "udp", "192.0.2.1", 5060)
TCP = Flow("203.0.113.1", 5060, "tcp", "192.0.2.1", 5060, 9)


def request(method: str) -> Request:
    text = (
        f"{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nRoute: <sip:r;lr>\r\n"
        f"From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 5\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
    )
    message = parse(text.encode())
    assert isinstance(message, Request)
    return message


class User:
    """Records what a transaction does."""

    def __init__(self) -> None:
        self.timers = TimerHeap()
        self.log: list[str] = []
        self.sent: list[bytes] = []

    def transmit(self, flow, data, ref) -> None:
        self.sent.append(data)
        self.log.append("send " + data.split(b" ")[0 if not data.startswith(b"SIP") else 1].decode())

    def terminated(self, transaction) -> None:
        self.log.append("terminated")

    def on_response(self, transaction, response, now) -> None:
        self.log.append(f"up {response.status}")

    def on_timeout(self, transaction, now) -> None:
        self.log.append("timeout")

    def on_transport_error(self, transaction, now) -> None:
        self.log.append("error")

    def on_end(self, transaction) -> None:
        self.log.append("end")

    def take(self) -> list[str]:
        log, self.log = self.log, []
        return log

    def run(self, until: float) -> list[tuple[float, str]]:
        """Fire timers up to ``until``: (when, what) of all that happened."""
        self.take()
        happened = []
        while (at := self.timers.deadline()) is not None and at <= until:
            self.timers.fire(at)
            happened += [(at, item) for item in self.take()]
        return happened


def client(kind: type, flow: Flow = UDP) -> tuple[User, Machine]:
    user = User()
    machine = kind(user, user, request("INVITE" if kind is InviteClient else "OPTIONS"), "z9hG4bK1", flow)
    machine.begin(0.0)
    return user, machine


def server(kind: type, flow: Flow = UDP) -> tuple[User, Machine]:
    user = User()
    machine = kind(user, ("k",), flow, "tag", 0.0, KeptOctets())
    machine.begin(request("INVITE" if kind is InviteServer else "OPTIONS"))
    return user, machine


def response(machine: Machine, status: int) -> Response:
    return make_response(request("INVITE"), status, to_tag="tt")


def test_invite_client_retransmits_and_times_out():
    user, machine = client(InviteClient)
    happened = user.run(100)
    sends = [at for at, what in happened if what == "send INVITE"]
    assert sends == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert happened[-2:] == [(TIMER_B, "timeout"), (TIMER_B, "terminated")]


def test_invite_client_on_a_stream_does_not_retransmit():
    user, _ = client(InviteClient, TCP)
    assert [what for _, what in user.run(100)] == ["timeout", "terminated"]


def test_invite_client_acknowledges_a_refusal_and_its_retransmissions():
    user, machine = client(InviteClient)
    machine.receive(response(machine, 180), 1.0)
    machine.receive(response(machine, 486), 2.0)
    assert user.take() == ["send INVITE", "up 180", "send ACK", "up 486"]
    ack = parse(user.sent[-1])
    assert ack.get("cseq") == "7 ACK"
    assert ack.get("via") == "SIP/2.0/UDP x;branch=z9hG4bK1"
    assert ack.get("to") == "<sip:a@b>;tag=tt"
    assert ack.get("route") == "<sip:r;lr>"
    machine.receive(response(machine, 486), 3.0)
    assert user.take() == ["send ACK"]
    assert user.run(100) == [(2.0 + TIMER_D, "terminated")]


def test_invite_client_passes_every_2xx_up_until_timer_m():
    user, machine = client(InviteClient)
    machine.receive(response(machine, 200), 1.0)
    machine.receive(response(machine, 200), 2.0)
    assert user.take() == ["send INVITE", "up 200", "up 200"]
    assert machine.state is TransactionState.ACCEPTED
    assert user.run(100) == [(1.0 + TIMER_M, "terminated")]


def test_non_invite_client_retransmits_up_to_t2_and_times_out():
    user, _ = client(NonInviteClient)
    sends = [at for at, what in user.run(100) if what == "send OPTIONS"]
    assert sends[:4] == [0.5, 1.5, 3.5, 7.5]
    assert all(later - earlier == T2 for earlier, later in zip(sends[3:], sends[4:], strict=False))


def test_non_invite_client_timer_f_counts_from_the_request():
    user, machine = client(NonInviteClient)
    machine.receive(response(machine, 100), 10.0)
    happened = user.run(100)
    assert [at for at, what in happened if what == "timeout"] == [64 * T1]
    assert [at for at, what in happened if what == "send OPTIONS"][0] == 10.0 + T2


def test_invite_server_retransmits_a_refusal_until_its_ack():
    user, machine = server(InviteServer)
    machine.respond(response(machine, 486), 1.0)
    happened = user.run(8)
    assert [at for at, what in happened if what == "send 486"] == [1.5, 2.5, 4.5]
    machine.receive(request("INVITE"), 8.1)
    assert user.take() == ["send 486"]
    machine.receive(request("ACK"), 8.2)
    assert machine.state is TransactionState.CONFIRMED
    assert user.run(100) == [(8.2 + T4, "terminated")]


def test_invite_server_without_ack_gives_up_at_timer_h():
    user, machine = server(InviteServer)
    machine.respond(response(machine, 486), 0.0)
    assert user.run(100)[-1] == (TIMER_H, "terminated")


def test_invite_server_accepted_absorbs_the_invite_and_sends_each_2xx():
    user, machine = server(InviteServer)
    machine.respond(response(machine, 200), 1.0)
    machine.receive(request("INVITE"), 2.0)
    machine.respond(response(machine, 200), 3.0)
    assert user.take() == ["send 200", "send 200"]
    assert user.run(100) == [(1.0 + TIMER_L, "terminated")]


def test_non_invite_server_answers_retransmissions_until_timer_j():
    user, machine = server(NonInviteServer)
    machine.receive(request("OPTIONS"), 0.5)
    assert user.take() == []
    machine.respond(response(machine, 200), 1.0)
    machine.receive(request("OPTIONS"), 2.0)
    assert user.take() == ["send 200", "send 200"]
    assert user.run(100) == [(1.0 + TIMER_J, "terminated")]


@pytest.mark.parametrize("flow", [UDP, TCP])
def test_non_invite_server_says_100_when_its_client_would_send_every_t2_and_nothing_else_before_the_end(flow):
    user, machine = server(NonInviteServer, flow)
    machine.respond(response(machine, 180), 1.0)
    assert user.run(30) == [(3.5, "send 100")]
    machine.respond(response(machine, 183), 30.0)
    assert user.take() == []
    machine.receive(request("OPTIONS"), 30.0)
    machine.respond(response(machine, 200), 31.0)
    assert user.take() == ["send 100", "send 200"]


def test_who_may_be_somebody_else_gets_no_100():
    user, machine = server(NonInviteServer)
    machine.once = True
    assert user.run(10) == []
    machine.receive(request("OPTIONS"), 11.0)
    assert user.take() == []


def test_nothing_happens_after_the_end():
    for kind in (InviteServer, NonInviteServer):
        user, machine = server(kind, TCP)
        machine.respond(response(machine, 486), 1.0)
        machine.receive(request("ACK"), 1.0)
        user.run(1.0)
        assert machine.ended
        machine.respond(response(machine, 200), 2.0)
        machine.receive(request("INVITE"), 2.0)
        assert user.take() == []


@pytest.mark.parametrize("kind", [InviteClient, NonInviteClient, InviteServer, NonInviteServer])
def test_on_streams_the_last_wait_is_zero(kind):
    if kind in (InviteClient, NonInviteClient):
        user, machine = client(kind, TCP)
        machine.receive(response(machine, 486), 1.0)
    else:
        user, machine = server(kind, TCP)
        machine.respond(response(machine, 486), 1.0)
        if kind is InviteServer:
            machine.receive(request("ACK"), 1.0)
    user.take()
    assert user.run(1.0) == [(1.0, "terminated")]


PATHS = {
    TransactionState.CALLING: [],
    TransactionState.TRYING: [],
    "InviteClient": {
        TransactionState.PROCEEDING: ["1xx"],
        TransactionState.COMPLETED: ["final"],
        TransactionState.ACCEPTED: ["2xx"],
    },
    "NonInviteClient": {TransactionState.PROCEEDING: ["1xx"], TransactionState.COMPLETED: ["2xx"]},
    "InviteServer": {
        TransactionState.PROCEEDING: [],
        TransactionState.COMPLETED: ["send_final"],
        TransactionState.CONFIRMED: ["send_final", "ack"],
        TransactionState.ACCEPTED: ["send_2xx"],
    },
    "NonInviteServer": {TransactionState.PROCEEDING: ["timer_trying"], TransactionState.COMPLETED: ["send_2xx"]},
}
STATUS = {"1xx": 180, "send_1xx": 180, "2xx": 200, "send_2xx": 200}
EFFECTS = {
    "send": "send", "send_trying": "send 100", "resend": "send", "ack": "send ACK", "pass_up": "up", "inform_timeout": "timeout", "inform_error": "error"
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "state", "event"),
    [
        (kind, state, event)
        for kind in (InviteClient, NonInviteClient, InviteServer, NonInviteServer)
        for state, events in kind.table.items()
        for event in events
    ],
    ids=lambda value: getattr(value, "__name__", None) or getattr(value, "value", value),
)
def test_every_transition(kind, state, event):
    """From a new transaction into ``state``, then ``event``: the table's next state, effects and timers."""
    user, machine = (client if kind in (InviteClient, NonInviteClient) else server)(kind)
    path = (
        PATHS.get(state)
        if state in (TransactionState.CALLING, TransactionState.TRYING)
        else PATHS[kind.__name__][state]
    )
    for index, step in enumerate([*path, event]):
        if index == len(path):
            assert machine.state is state
            if kind in (InviteServer, NonInviteServer):
                machine.last = b"SIP/2.0 180 Ringing\r\n\r\n"
            user.take()
        machine.fire(step, 1.0 + index, response(machine, STATUS.get(step, 486)))
    target, actions = kind.table[state][event]
    assert machine.state is target
    log = " / ".join(user.take())
    for action in actions:
        if action in EFFECTS:
            assert EFFECTS[action] in log
        elif action.startswith(("start", "double", "keep")):
            assert machine.timers
    assert ("terminated" in log) == (target is TransactionState.TERMINATED)


@pytest.mark.parametrize("kind", [InviteClient, NonInviteClient, InviteServer, NonInviteServer])
def test_what_a_state_does_not_list_is_ignored(kind):
    events = {event for table in kind.table.values() for event in table}
    for state, table in kind.table.items():
        for event in events - set(table):
            user, machine = (client if kind in (InviteClient, NonInviteClient) else server)(kind)
            machine.state = state
            user.take()
            machine.fire(event, 1.0, response(machine, 200))
            assert machine.state is state
            assert user.take() == []
