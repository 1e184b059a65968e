"""Server transactions: INVITE (RFC 3261 §17.2.1, RFC 6026 §7.1) and non-INVITE (§17.2.2)."""

from __future__ import annotations

from typing import ClassVar

from edge.sip.flow import Flow
from edge.sip.message import Request, Response, make_response
from edge.sip.timers import T1, T2, T4, TIMER_H, TIMER_J, TIMER_L, TIMER_TRYING
from edge.sip.transaction.machine import Machine, Table, TransactionState, TransactionUser


class KeptOctets:
    """``total`` is that of all responses kept by open server transactions."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


class ServerTransaction(Machine):
    """``last`` is the response last sent, for retransmissions; "" as ``ref`` since nobody waits for its failure.
    ``once``: whoever asks may not be where he says (§8.2.7), so a refusal is sent once, and the transaction is over."""

    first: ClassVar[TransactionState]
    __slots__ = ("_interval", "_kept", "last", "once", "to_tag")

    def __init__(
        self, user: TransactionUser, key: tuple[str, ...], flow: Flow, to_tag: str, now: float, kept: KeptOctets
    ) -> None:
        super().__init__(user, key, flow, self.first, now)
        self.last = b""
        self.to_tag = to_tag
        self.once = False
        self._interval = T1
        self._kept = kept

    def begin(self, request: Request) -> None:
        """``request`` has come."""

    def respond(self, response: Response, now: float) -> None:
        """Send ``response``, or forward it, where the state still allows one (a final one is sent once)."""
        status = response.status
        self.fire("send_1xx" if status < 200 else "send_2xx" if status < 300 else "send_final", now, response)

    def receive(self, request: Request, now: float) -> None:
        """A retransmission, or the ACK of a refusal."""
        self.fire("ack" if request.method == "ACK" else "request", now, request)

    @property
    def answered(self) -> bool:
        return self.state not in (TransactionState.TRYING, TransactionState.PROCEEDING)

    @property
    def ended(self) -> bool:
        """Whether no response can go back any more, not even a further 2xx (RFC 6026 §7.1)."""
        return self.state is TransactionState.TERMINATED

    @property
    def refused(self) -> bool:
        """Whether an ACK with the request's branch is for this transaction, and not for a dialog."""
        return self.state in (TransactionState.COMPLETED, TransactionState.CONFIRMED)

    def send(self) -> None:
        before, self.last = self.last, self._message.to_bytes()
        self._kept.total += len(self.last) - len(before)
        self.resend()

    def resend(self) -> None:
        if self.last:
            self.user.transmit(self.flow, self.last, "")


class InviteServer(ServerTransaction):
    """States of RFC 6026 figure 4. The core sends 100 itself, at once."""

    first = TransactionState.PROCEEDING
    __slots__ = ()
    table: ClassVar[Table] = {
        TransactionState.PROCEEDING: {
            "request": (TransactionState.PROCEEDING, ("resend",)),
            "send_1xx": (TransactionState.PROCEEDING, ("send",)),
            "send_2xx": (TransactionState.ACCEPTED, ("send", "start_l")),
            "send_final": (TransactionState.COMPLETED, ("send", "start_g", "start_h")),
        },
        TransactionState.COMPLETED: {
            "request": (TransactionState.COMPLETED, ("resend",)),
            "timer_g": (TransactionState.COMPLETED, ("resend", "double_g")),
            "timer_h": (TransactionState.TERMINATED, ()),
            "ack": (TransactionState.CONFIRMED, ("start_i",)),
        },
        TransactionState.CONFIRMED: {"timer_i": (TransactionState.TERMINATED, ())},
        TransactionState.ACCEPTED: {
            "send_2xx": (TransactionState.ACCEPTED, ("send",)),  # the UAS retransmits its 2xx end to end (§13.3.1.4)
            "timer_l": (TransactionState.TERMINATED, ()),
        },
    }

    def start_g(self) -> None:
        if not (self.flow.reliable or self.once):
            self.start("timer_g", T1)

    def double_g(self) -> None:
        self._interval = min(self._interval * 2, T2)
        self.start("timer_g", self._interval)

    def start_h(self) -> None:
        self.start("timer_h", 0.0 if self.once else TIMER_H)

    def start_i(self) -> None:
        self.start("timer_i", 0.0 if self.flow.reliable else T4)

    def start_l(self) -> None:
        self.start("timer_l", TIMER_L)


class NonInviteServer(ServerTransaction):
    """States of RFC 3261 figure 8. Of provisional responses it sends 100 only, by itself, once its client would send
    every T2 (RFC 4320 §4.1); not where whoever asks may be somebody else (``once``)."""

    first = TransactionState.TRYING
    __slots__ = ("_request",)
    table: ClassVar[Table] = {
        TransactionState.TRYING: {
            "timer_trying": (TransactionState.PROCEEDING, ("send_trying",)),
            "send_2xx": (TransactionState.COMPLETED, ("send", "start_j")),
            "send_final": (TransactionState.COMPLETED, ("send", "start_j")),
        },
        TransactionState.PROCEEDING: {
            "request": (TransactionState.PROCEEDING, ("resend",)),
            "send_2xx": (TransactionState.COMPLETED, ("send", "start_j")),
            "send_final": (TransactionState.COMPLETED, ("send", "start_j")),
        },
        TransactionState.COMPLETED: {
            "request": (TransactionState.COMPLETED, ("resend",)),
            "timer_j": (TransactionState.TERMINATED, ()),
        },
    }

    def begin(self, request: Request) -> None:
        self._request: Request | None = request
        self.start("timer_trying", TIMER_TRYING)

    def send_trying(self) -> None:
        if self._request is not None and not self.once:
            self._message = make_response(self._request, 100)
            self.send()

    def start_j(self) -> None:
        self._request = None  # nobody needs it any more
        self.start("timer_j", 0.0 if self.flow.reliable else TIMER_J)
