"""Descriptions in ACKs: the answer to an offer that came in a 2xx (RFC 3264 with RFC 3261 §13.2.1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from edge.media.description import mended, read
from edge.media.orders import ANSWER, DESCRIBE, MediaOrder, MediaReply
from edge.providers.leg import phone_tags
from edge.providers.leg_token import LegToPhone, RelayedMedia
from edge.proxy.forwarding.described import description_of, with_description
from edge.proxy.forwarding.record_route import DialogTarget, call_of, dialog_of
from edge.proxy.stack.stack import Stack
from edge.sip.incoming import Incoming
from edge.sip.message import Request

_MOST = 1000  # each is asked for again as long as its 2xx comes again


class LateAnswers:
    """An ACK has no transaction that would know what has been described: that is remembered here."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._known: OrderedDict[tuple[str, str, bytes], bytes] = OrderedDict()

    def describe(
        self,
        incoming: Incoming,
        session: RelayedMedia,
        target: DialogTarget,
        then: Callable[[Request, float], None],
        now: float,
    ) -> None:
        """``then`` gets the ACK ``incoming`` with the engine's description; without an engine's answer as it is, since
        it can't be refused."""
        request = incoming.request
        described = description_of(request)
        if not described or read(described) is None:
            then(request, now)
            return
        by, to = (
            phone_tags(incoming, target) if isinstance(target, LegToPhone) else (incoming.from_tag, incoming.to_tag)
        )
        name = (session.key, by, described)

        def done(reply: MediaReply, at: float) -> None:
            if reply.body is None:
                self._stack.counters["media_refused"] += 1
                then(request, at)
                return
            self._known[name] = reply.body
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
            then(_changed(request, described, reply.body), at)

        known = self._known.get(name)
        if known is not None:
            then(_changed(request, described, known), now)
            return
        call = call_of(target)
        order = MediaOrder(
            session.key,
            DESCRIBE,
            by,
            to,
            body=mended(described, incoming.flow.host),
            role=ANSWER,
            source=incoming.flow.host,
            tenant=call.tenant,
            began=call.started,
            leg=dialog_of(incoming, target, self._stack.fleet)[1],
        )
        self._stack.questions.order_media(session.address, order, done)


def _changed(request: Request, described: bytes, other: bytes) -> Request:
    headers, body = with_description(request, described, other)
    return Request(request.method, request.uri, headers, body)
