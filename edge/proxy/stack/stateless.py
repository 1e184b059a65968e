"""Answers without a transaction (RFC 3261 §8.2.7): each is sent once, and nothing is remembered of it.

Everything that is answered before somebody has shown who he is goes this way: the source may be forged, and whoever is
there must neither get the same answer eleven times nor cost memory. The To tag is the same for each retransmission of
a request, as that clause demands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2s

from edge.proxy.location.bindings import HeldBindings
from edge.proxy.stack.sources import Sources
from edge.sip.flow import Flow
from edge.sip.incoming import Fault
from edge.sip.message import Header, Request, Response, make_response

MOST_AMPLIFIED = 3
"""Octets of an answer for each of a stranger's request: QUIC's measure (RFC 9000 §8)."""
_CHALLENGES = ("www-authenticate", "proxy-authenticate")

Transmit = Callable[[Flow, bytes, str], None]


class Stateless:
    """``transmit`` sends."""

    def __init__(
        self, bindings: HeldBindings, sources: Sources, counters: Counter[str], transmit: Transmit, secret: str
    ) -> None:
        """``secret`` is nobody else's."""
        self._bindings = bindings
        self._sources = sources
        self._counters = counters
        self._transmit = transmit
        self._secret = secret.encode()[:32]

    def proven(self, flow: Flow, now: float) -> bool:
        """Whether whoever sends on ``flow`` is there: somebody with an account, or our own end of it."""
        return bool(self._bindings.first_on(flow)) or flow.internal or self._sources.proven(flow.host, now)

    def refuse(self, request: Request, flow: Flow, octets: int, fault: Fault, now: float) -> None:
        """As ``fault`` says; ``octets`` is what the request had."""
        self.answer(request, flow, octets, fault.status, now, fault.headers, fault.reason)

    def answer(
        self,
        request: Request,
        flow: Flow,
        octets: int,
        status: int,
        now: float,
        headers: Sequence[Header] = (),
        reason: str = "",
    ) -> None:
        """Unless a stranger gets too many answers, or one that is too long."""
        stranger = not (flow.reliable or self.proven(flow, now))
        if stranger and not self._sources.may_answer(flow.host, now):
            self._counters["slowed"] += 1
            return
        data = self._response(request, status, reason, headers).to_bytes()
        if stranger and len(data) > MOST_AMPLIFIED * octets:
            data = self._response(request, status, "", _first_challenge(headers)).to_bytes()
            if len(data) > MOST_AMPLIFIED * octets:
                self._counters["amplifying"] += 1
                return
        self._transmit(flow, data, "")

    def _response(self, request: Request, status: int, reason: str, headers: Sequence[Header]) -> Response:
        return make_response(request, status, reason, self._tag(request), headers)

    def _tag(self, request: Request) -> str:
        text = f"{request.get('via')}{request.get('from')}{request.get('call-id')}{request.get('cseq')}"
        return blake2s(text.encode("utf-8", "surrogateescape"), key=self._secret, digest_size=8).hexdigest()


def _first_challenge(headers: Sequence[Header]) -> list[Header]:
    """Without the further ones: whoever knows only those sends longer requests."""
    first = next((header for header in headers if header[0] in _CHALLENGES), None)
    return [header for header in headers if header[0] not in _CHALLENGES or header is first]
