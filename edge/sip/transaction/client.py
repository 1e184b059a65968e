"""Client transactions: INVITE (RFC 3261 §17.1.1, RFC 6026 §7.2) and non-INVITE (§17.1.2)."""

from __future__ import annotations

from typing import ClassVar, Protocol

from edge.sip.flow import Flow
from edge.sip.headers import value_of
from edge.sip.message import Header, Request, Response
from edge.sip.timers import T1, T2, T4, TIMER_B, TIMER_D, TIMER_F, TIMER_M
from edge.sip.transaction.machine import Machine, Table, TransactionState, TransactionUser


class ResponseTarget(Protocol):
    """Who gets a client transaction's responses. ``on_timeout`` and ``on_transport_error`` stand for a 408 and a
    503 (§16.9). Nothing follows ``on_end``."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None: ...

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None: ...

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None: ...

    def on_end(self, transaction: ClientTransaction) -> None: ...


class Nobody:
    """Nothing follows from any response."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None: ...

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None: ...

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None: ...

    def on_end(self, transaction: ClientTransaction) -> None: ...


NOBODY = Nobody()


class ClientTransaction(Machine):
    """``branch`` is that of the request's top Via; the key is (branch, method), §17.1.3. ``fault`` says why its flow is
    dead, as far as anybody knows."""

    first: ClassVar[TransactionState]
    __slots__ = ("_interval", "branch", "data", "fault", "request", "target")

    def __init__(
        self, user: TransactionUser, target: ResponseTarget, request: Request, branch: str, flow: Flow
    ) -> None:
        super().__init__(user, (branch, request.method), flow, self.first, 0.0)
        self.target: ResponseTarget = target
        self.request = request
        self.branch = branch
        self.data = request.to_bytes()
        self._interval = T1
        self.fault = ""

    def begin(self, now: float) -> None:
        """Send the request and start the first timers."""
        self.now = now
        self.send()
        self._start()

    def _start(self) -> None:
        raise NotImplementedError

    def receive(self, response: Response, now: float) -> None:
        """A response that matched this transaction (§17.1.3)."""
        status = response.status
        self.fire("1xx" if status < 200 else "2xx" if status < 300 else "final", now, response)

    def fail(self, now: float, why: str = "") -> None:
        """Its flow is dead, or what it sent is lost."""
        self.fault = why
        self.fire("error", now)

    def let_go(self) -> None:
        """It has ended. It and its target hold each other, and what isn't in a circle needs no garbage collector."""
        target, self.target = self.target, NOBODY
        target.on_end(self)

    def send(self) -> None:
        self.user.transmit(self.flow, self.data, " ".join(self.key))

    def pass_up(self) -> None:
        self.target.on_response(self, self._message, self.now)

    def inform_timeout(self) -> None:
        self.target.on_timeout(self, self.now)

    def inform_error(self) -> None:
        self.target.on_transport_error(self, self.now)


class InviteClient(ClientTransaction):
    """States of RFC 6026 figure 5. ``retransmits`` is False where Timer A fires once only: an address that somebody
    outside chose, and that never answered here, gets two packets (a departure from §17.1.1.2, where it fires until
    Timer B does: nobody is flooded by way of us)."""

    __slots__ = ("retransmits",)

    first = TransactionState.CALLING
    table: ClassVar[Table] = {
        TransactionState.CALLING: {
            "timer_a": (TransactionState.CALLING, ("send", "double_a")),
            "timer_b": (TransactionState.TERMINATED, ("inform_timeout",)),
            "error": (TransactionState.TERMINATED, ("inform_error",)),
            "1xx": (TransactionState.PROCEEDING, ("pass_up",)),
            "2xx": (TransactionState.ACCEPTED, ("start_m", "pass_up")),
            "final": (TransactionState.COMPLETED, ("ack", "start_d", "pass_up")),
        },
        TransactionState.PROCEEDING: {
            "1xx": (TransactionState.PROCEEDING, ("pass_up",)),
            "2xx": (TransactionState.ACCEPTED, ("start_m", "pass_up")),
            "final": (TransactionState.COMPLETED, ("ack", "start_d", "pass_up")),
            "error": (TransactionState.TERMINATED, ("inform_error",)),
        },
        TransactionState.COMPLETED: {
            "final": (TransactionState.COMPLETED, ("ack",)),
            "timer_d": (TransactionState.TERMINATED, ()),
            "error": (TransactionState.TERMINATED, ()),  # the final response has already gone up
        },
        TransactionState.ACCEPTED: {
            "2xx": (TransactionState.ACCEPTED, ("pass_up",)),
            "timer_m": (TransactionState.TERMINATED, ()),
        },
    }

    def __init__(
        self, user: TransactionUser, target: ResponseTarget, request: Request, branch: str, flow: Flow
    ) -> None:
        super().__init__(user, target, request, branch, flow)
        self.retransmits = True

    def _start(self) -> None:
        if not self.flow.reliable:
            self.start("timer_a", T1)
        self.start("timer_b", TIMER_B)

    def double_a(self) -> None:
        if self.retransmits:
            self._interval *= 2
            self.start("timer_a", self._interval)

    def start_m(self) -> None:
        self.start("timer_m", TIMER_M)

    def start_d(self) -> None:
        self.start("timer_d", 0.0 if self.flow.reliable else TIMER_D)

    def ack(self) -> None:
        """§17.1.1.3: the ACK of a refusal has the INVITE's branch, routes and CSeq number, and the response's To."""
        self.user.transmit(self.flow, make_ack(self.request, self._message).to_bytes(), " ".join(self.key))


class NonInviteClient(ClientTransaction):
    """States of RFC 3261 figure 6."""

    first = TransactionState.TRYING
    table: ClassVar[Table] = {
        TransactionState.TRYING: {
            "timer_e": (TransactionState.TRYING, ("send", "double_e")),
            "timer_f": (TransactionState.TERMINATED, ("inform_timeout",)),
            "error": (TransactionState.TERMINATED, ("inform_error",)),
            "1xx": (TransactionState.PROCEEDING, ("keep_f", "start_e_slow", "pass_up")),
            "2xx": (TransactionState.COMPLETED, ("start_k", "pass_up")),
            "final": (TransactionState.COMPLETED, ("start_k", "pass_up")),
        },
        TransactionState.PROCEEDING: {
            "timer_e": (TransactionState.PROCEEDING, ("send", "start_e_slow")),
            "timer_f": (TransactionState.TERMINATED, ("inform_timeout",)),
            "error": (TransactionState.TERMINATED, ("inform_error",)),
            "1xx": (TransactionState.PROCEEDING, ("pass_up",)),
            "2xx": (TransactionState.COMPLETED, ("start_k", "pass_up")),
            "final": (TransactionState.COMPLETED, ("start_k", "pass_up")),
        },
        TransactionState.COMPLETED: {"timer_k": (TransactionState.TERMINATED, ())},
    }
    __slots__ = ("_give_up",)

    def _start(self) -> None:
        self._give_up = self.now + TIMER_F
        if not self.flow.reliable:
            self.start("timer_e", T1)
        self.start("timer_f", TIMER_F)

    def keep_f(self) -> None:
        """Timer F goes on from the request (figure 6), whatever the state."""
        self.start("timer_f", self._give_up - self.now)

    def double_e(self) -> None:
        self._interval = min(self._interval * 2, T2)
        self.start("timer_e", self._interval)

    def start_e_slow(self) -> None:
        if not self.flow.reliable:
            self.start("timer_e", T2)

    def start_k(self) -> None:
        self.start("timer_k", 0.0 if self.flow.reliable else T4)


_COMMON = frozenset(("from", "call-id", "route", "max-forwards"))


def _same_hop(request: Request, method: str, to: str | None) -> Request:
    """A request with ``request``'s URI, top Via, Route, From, Call-ID and CSeq number: an ACK or a CANCEL of it."""
    headers: list[Header] = []
    seen_via = False
    for key, line in request.headers:
        if key == "via" and not seen_via:
            seen_via = True  # ours, and alone in its line
            headers.append((key, line))
        elif key in _COMMON:
            headers.append((key, line))
        elif key == "to":
            headers.append((key, line if to is None else f"To: {to}"))
        elif key == "cseq":
            headers.append((key, f"CSeq: {value_of(line).split()[0]} {method}"))
    headers.append(("content-length", "Content-Length: 0"))
    return Request(method, request.uri, headers)


def make_ack(request: Request, response: Response) -> Request:
    """The ACK for a 300-699 ``response`` to ``request`` (§17.1.1.3)."""
    return _same_hop(request, "ACK", response.get("to"))


def make_cancel(request: Request, why: str = "") -> Request:
    """The CANCEL of ``request`` (§9.1); ``why`` is a Reason value (RFC 3326), or ""."""
    cancel = _same_hop(request, "CANCEL", None)
    if why:
        cancel.headers.insert(-1, ("reason", f"Reason: {why}"))
    return cancel
