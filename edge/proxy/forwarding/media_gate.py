"""Session descriptions on their way through a response context: those of a relayed call wait here for what the media
engine of the caller's edge address makes of them.

Theory of operation. Whether a branch of a new call is relayed is judged when its request leaves, since its tokens have
to say so (``BranchMedia``); in a dialog they have said it. What the request describes is an offer (in a PRACK perhaps
an answer: the engine's holder knows what is due), what its responses describe is the answer, or where the request had
nothing, an offer, which the ACK or PRACK answers (RFC 3264, RFC 3262 §5).

- Requests wait in their branch: nothing is begun before the engine has answered.
- Responses wait in one queue, so that none overtakes another. What was described once isn't asked about again, unless
  it is an answered call now, which the engine's holder has to know, or another branch or dialog has been heard
  meanwhile: the answer that counts is the latest (early media of two phones one after the other).
- A branch that ends gives its ports back; so does a call that nobody takes, and one that has ended. What is refused in
  a dialog leaves the session as it was.

Without an engine's answer: a new call that needn't be bridged goes on as if there were no engine, since that may do.
One that can't work so is refused, and so is one that somebody wants relayed whatever it takes, and one for which there
are no ports left (but for a call for help, which counts to nobody); an answered one is hung up, rather than left
silent. In a dialog the request is refused, and the call stays as it is.

Where another border of the same call describes (between two providers, and in what is sent by ourselves), a gate only
says which session the tokens name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from edge.media.description import Description, mended, read
from edge.media.judging import End, Judgement, judge
from edge.media.orders import (
    ANSWER,
    DESCRIBE,
    DESCRIPTION,
    DROP,
    DROP_BRANCH,
    FULL,
    GONE,
    OFFER,
    RESTORE,
    MediaOrder,
    MediaReply,
    Needs,
    SideQuality,
)
from edge.providers.leg import phone_tags
from edge.providers.leg_token import LegToPhone, RelayedMedia
from edge.proxy.forwarding.browsers import in_browser
from edge.proxy.forwarding.described import description_of, with_description
from edge.proxy.forwarding.media_session import SessionNames
from edge.proxy.forwarding.record_route import DialogTarget, call_of, dialog_of
from edge.proxy.stack.answered_calls import leg_name
from edge.proxy.stack.flow_token import CallReference
from edge.proxy.stack.stack import Stack
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import tag_of
from edge.sip.incoming import Incoming
from edge.sip.message import Request, Response
from edge.sip.uri import Uri
from lambdas.contract import MediaWay, Target


class MediaRefusal(NamedTuple):
    """What a request is refused with whose media can't be what they have to be. ``passes``: it may do later."""

    status: int
    reason: str
    passes: bool = True


OnOffer = Callable[[Request | None, MediaRefusal | None, float], None]
"""Gets the request with the engine's description; None where it is refused, or (without a refusal) goes on as it is."""
OnQuality = Callable[[tuple[SideQuality, ...], float], None]
"""Gets how well whoever sent the request has heard, and the other one; () if nobody can say."""
OnAnswer = Callable[[Response, bool, float], None]
"""Gets the response with the engine's description, or as it is; whether there should have been one."""


def nothing_heard(quality: tuple[SideQuality, ...], now: float) -> None:
    """Whoever doesn't want to know."""


UNREADABLE = MediaRefusal(488, "Not Acceptable Here: its session description can't be read", passes=False)
NO_ENGINE = MediaRefusal(503, "Service Unavailable: its media have to be relayed, and this edge has no media engine")
_NO_ANSWER = MediaRefusal(503, "Service Unavailable: its media can't be relayed: the engine does not answer")
_NEVER = MediaRefusal(403, "Forbidden: its media would have to be relayed, and relayed_calls is 0", passes=False)
_REFUSALS = {
    DESCRIPTION: UNREADABLE,
    FULL: MediaRefusal(
        503, "Service Unavailable: its media can't be relayed: no port, or no call of relayed_calls, is left"
    ),
    GONE: MediaRefusal(503, "Service Unavailable: its media can't be relayed: the caller's edge can't be reached"),
}
"""By the fault that an order has come to; any other one is the engine's."""

DESCRIBING = frozenset(("INVITE", "UPDATE", "PRACK"))
"""Methods whose requests and responses may have descriptions."""
_NO_BRIDGE = frozenset(("nat", "ice"))  # why a call is relayed that may do without


class BranchMedia:
    """Of one branch: its ``judgement``, and the ``name`` that the engine knows it by ("" in a dialog). ``flow`` is
    where its requests go; ``salt`` is a part of its dialogs' names; ``unbridged``: it is for a phone that takes the
    caller's own description only. ``described`` is its request with the engine's
    description, for ``needs``."""

    __slots__ = ("described", "flow", "judgement", "name", "needs", "ordered", "salt", "unbridged")

    def __init__(self, name: str, salt: str, flow: Flow, judgement: Judgement, unbridged: bool) -> None:
        self.name = name
        self.salt = salt
        self.flow = flow
        self.judgement = judgement
        self.needs = judgement.needs
        self.described: Request | None = None
        self.ordered = False
        self.unbridged = unbridged

    @property
    def way(self) -> tuple[MediaWay, str]:
        """For records."""
        relay, joins_ice, why, _ = self.judgement
        return "" if joins_ice else "relayed" if relay else "direct", why


class _Queued(NamedTuple):
    media: BranchMedia | None
    answer: Response
    then: OnAnswer


class MediaGate:
    """Of one request. ``session`` is None until a branch is to be relayed; ``counts`` is for MediaOrder."""

    def __init__(
        self,
        stack: Stack,
        incoming: Incoming,
        names: SessionNames,
        session: RelayedMedia | None = None,
        target: DialogTarget | None = None,
        describes: bool = True,
        begins: bool = False,
    ) -> None:
        """``session`` is known from the start where tokens, or another border, say so, and else named by ``names``;
        ``target`` is where a request in a dialog goes. ``describes``: descriptions are changed here, and nowhere
        else; ``begins``: the session begins with this request, though it is in a dialog."""
        self._stack = stack
        self._incoming = incoming
        self.session = session
        self.counts: Mapping[str, int] = {}
        self._known_before = session is not None
        self._describes = describes
        self._begins = begins
        self._in_dialog = target is not None
        self._call = call_of(target)
        self._names = names
        self._nth = 0
        self._leg = ""
        self._invite = incoming.request.method == "INVITE"
        self._answered: set[tuple[str, str]] = set()  # those that the engine's holder knows to be calls
        self._last: dict[tuple[str, str], bytes] = {}  # what each has described
        tags = (incoming.from_tag, incoming.to_tag)
        if target is not None:
            self._leg = dialog_of(incoming, target, stack.fleet)[1]
            if isinstance(target, LegToPhone):
                tags = phone_tags(incoming, target)
        self._sender, self._receiver = tags
        self._offer: bytes | None = None  # not looked at yet
        self._said: Description | None = None
        self._unreadable = False
        self._begun = False
        self._queue: deque[_Queued] = deque()
        self._waiting = False
        self._latest = ("", "")
        self._known: dict[tuple[str, str, bytes], bytes] = {}

    # Judging

    def judge(
        self, before: BranchMedia | None, target: Target, flow: Flow, call: CallReference, salted: bool
    ) -> BranchMedia:
        """Of a branch to ``target`` by ``flow``, of ``call``; ``before`` is what it was judged to be by another flow;
        ``salted``: as a Branch has it."""
        if self._offer is None:
            self._read()
        judgement = self._judgement(target, flow)
        if judgement.relay and self.session is None:
            self._call = call
            self.session, self._nth = self._names.begun_by(self._incoming, call)
            if self.session is None:
                judgement = Judgement(False, False, "repeated")
        if before is None:
            name = "" if self._in_dialog else self._stack.ids.token()
            unbridged = bool(judgement.needs.profile) and target.binding in self._stack.unbridged
            if unbridged:
                judgement = self._unbridged(judgement)
            return BranchMedia(name, call.salt if salted else "", flow, judgement, unbridged)
        if before.unbridged and judgement.needs.profile:
            if before.needs.profile:  # the engine forgets no profile that it has been told
                self.lost(before)
                before.name = self._stack.ids.token()
            judgement = self._unbridged(judgement)
        before.judgement, before.flow = judgement, flow
        if judgement.needs != before.needs:
            before.needs, before.described = judgement.needs, None
        return before

    def unbridges(self, media: BranchMedia, binding: str) -> bool:
        """The phone of ``binding`` takes no such description: whether there is another one to try, with its profile
        unchanged."""
        if media.unbridged:
            self._stack.unbridged.forget(binding)
            return False
        if media.judgement.needs.profile:
            media.unbridged = True
            self._stack.unbridged.note(binding)
        return media.unbridged

    def _unbridged(self, judgement: Judgement) -> Judgement:
        """Of a side that takes the caller's description only: with its ICE, where it has that."""
        if self._said is not None and self._said.ice == "full":
            return Judgement(True, True, judgement.why, Needs(ice="force-relay"))
        return Judgement(True, False, judgement.why, Needs(family=judgement.needs.family))

    def _read(self) -> None:
        """What the request describes, once somebody is tried: whoever has no say here costs no look at it."""
        offer = description_of(self._incoming.request)
        self._said = read(offer) if offer else None
        self._offer = offer or b""
        self._unreadable = offer is None or (bool(offer) and self._said is None)

    def _judgement(self, target: Target, flow: Flow) -> Judgement:
        if self._known_before and not self._begins:
            return Judgement(True, False, "")
        if self._unreadable:
            self._stack.counters["media_unreadable"] += 1
            return Judgement(False, False, "unreadable")
        if self._said is not None and not self._said.by_udp:
            return Judgement(False, False, "tcp")
        other = End("" if flow.internal else flow.host, None, _host(target.uri), in_browser(flow))
        policy = "relay" if self._begins or target.echo else target.media
        judgement = judge(policy, self._caller, other, target.one_site, self._stack.fleet.public_networks.have)
        # The relay itself is what the echo number answers with: without it there is none.
        return judgement._replace(why="echo") if target.echo else judgement

    @property
    def _caller(self) -> End:
        flow = self._incoming.flow
        return End(flow.host, self._said, "", in_browser(flow))

    def tokens(self, media: BranchMedia | None, call: CallReference) -> CallReference:
        """``call`` as the tokens of a branch have it."""
        return call._replace(relayed=True, nth=self._nth) if media is not None and media.judgement.relay else call

    def named(self, media: BranchMedia | None) -> RelayedMedia | None:
        """What the ways of a branch across a border have."""
        return self.session if media is not None and media.judgement.relay else None

    # Requests

    def ready(self, media: BranchMedia) -> Request | None:
        """The request as it goes to a branch; None if the engine has to be asked for it."""
        if media.described is not None:
            return media.described
        asks = self._describes and media.judgement.relay and (self._said is not None or self._unreadable)
        return None if asks else self._incoming.request

    def ask(self, media: BranchMedia, then: OnOffer, now: float) -> None:
        """For what ``ready`` hasn't got."""
        if self._unreadable:  # in a dialog: it would lead past the engine that the other side hears
            self._stack.counters["media_unreadable"] += 1
            then(None, UNREADABLE, now)
            return
        incoming, offer = self._incoming, self._offer or b""
        role = "" if incoming.request.method == "PRACK" else OFFER
        body = mended(offer, incoming.flow.host)
        leg = self._leg if self._invite else ""
        order = self._order(DESCRIBE, media, self._sender, self._receiver, body, media.needs, role, incoming.flow, leg)

        def done(reply: MediaReply, at: float) -> None:
            if reply.body is None:
                then(None, self._refusal(media, reply.fault), at)
                return
            request = incoming.request
            headers, changed = with_description(request, offer, reply.body)
            media.described = Request(request.method, request.uri, headers, changed)
            then(media.described, None, at)

        self._give(media, order, done)

    def _refusal(self, media: BranchMedia, fault: str) -> MediaRefusal | None:
        """Of a request whose description couldn't be had; None: it goes on without."""
        if fault == DESCRIPTION:
            return UNREADABLE
        if self._in_dialog or (fault == FULL and self.counts) or media.judgement.why not in _NO_BRIDGE:
            self._stack.counters["media_refused"] += 1
            return _NEVER if fault == FULL and 0 in self.counts.values() else _REFUSALS.get(fault, _NO_ANSWER)
        self._stack.counters["media_unrelayed"] += 1
        self.lost(media)  # the engine may only be late
        media.judgement = Judgement(False, False, "engine")
        return None

    # Responses

    def answer(self, media: BranchMedia | None, answer: Response, then: OnAnswer, now: float) -> None:
        """``then`` gets ``answer``, which came on a branch, after all that came before it."""
        self._queue.append(_Queued(media, answer, then))
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        while self._queue and not self._waiting:
            media, answer, then = self._queue[0]
            if media is None or not media.judgement.relay or not self._describes:
                self._queue.popleft()
                then(answer, False, now)
                continue
            tag = self._receiver or tag_of(answer.get("to") or "")
            here = (media.name, tag)
            described = description_of(answer)
            if described is None or (described and read(described) is None):
                self._stack.counters["media_unreadable"] += 1
                self._queue.popleft()
                then(answer, True, now)
                continue
            fresh = self._invite and answer.status >= 200 and here not in self._answered
            if not described and fresh:
                described = self._last.get(here, b"")  # it came before, and was acknowledged
            known = self._known.get((*here, described)) if self._latest == here and not fresh else None
            if described and known is None:
                self._waiting = True
                self._ask_about(media, tag, described, fresh)
                return
            self._queue.popleft()
            then(_changed(answer, described, known) if known else answer, False, now)

    def _ask_about(self, media: BranchMedia, tag: str, described: bytes, answered: bool) -> None:
        """``answered``: the dialog is a call from now on."""
        role, needs, leg = ANSWER if self._offer else OFFER, self._needs(media, described), ""
        if answered:
            self._answered.add((media.name, tag))
            leg = self._leg or leg_name(self._incoming.call_id, self._sender, tag, media.salt)
        body = mended(described, media.flow.host)
        order = self._order(DESCRIBE, media, tag, self._sender, body, needs, role, media.flow, leg)
        self._give(media, order, partial(self._on_answer, media, tag, described))

    def _needs(self, media: BranchMedia, described: bytes) -> Needs:
        """What the request's sender needs."""
        if self._in_dialog:
            return Needs()
        if self._offer:
            return Needs(ice=media.needs.ice) if media.judgement.joins_ice else Needs()
        callee = End(media.flow.host, read(described), "", in_browser(media.flow))
        return judge("relay", callee, self._caller, False, self._stack.fleet.public_networks.have).needs

    def _on_answer(self, media: BranchMedia, tag: str, described: bytes, reply: MediaReply, now: float) -> None:
        self._waiting = False
        _, answer, then = self._queue.popleft()
        if reply.body is None:
            self._stack.counters["media_refused"] += 1
            then(answer, True, now)
        else:
            self._known[media.name, tag, described] = reply.body
            self._latest = (media.name, tag)
            self._last[media.name, tag] = described
            then(_changed(answer, described, reply.body), False, now)
        self._go_on(now)

    # The end

    def lost(self, media: BranchMedia | None) -> None:
        """A branch has ended without a call; in a dialog the request was refused, and its offer with it."""
        if media is None or not media.ordered:
            return
        media.ordered = False
        if not self._in_dialog:
            self._give(media, self._order(DROP_BRANCH, media, self._sender))
        elif self._offer and self._incoming.request.method in ("INVITE", "UPDATE"):
            self._give(None, self._order(RESTORE, None, self._sender, self._receiver))

    def refused(self) -> None:
        """Nobody takes the call."""
        if self._begun and not self._in_dialog:
            self._begun = False
            self._give(None, self._order(DROP, None))

    def ended(self, then: OnQuality) -> None:
        """The request was a BYE, and its call is over."""
        order = self._order(DROP, None, self._sender, self._receiver)
        self._give(None, order, lambda reply, now: then(reply.quality, now))

    # Orders

    def _order(
        self,
        kind: str,
        media: BranchMedia | None,
        by: str = "",
        to: str = "",
        body: bytes = b"",
        needs: Needs = Needs(),  # noqa: B008 - immutable
        role: str = "",
        flow: Flow | None = None,
        leg: str = "",
    ) -> MediaOrder:
        assert self.session is not None
        return MediaOrder(
            self.session.key,
            kind,
            by,
            to,
            media.name if media is not None else "",
            body,
            needs,
            role,
            flow.host if flow is not None and not flow.internal else "",
            self._call.tenant,
            self._call.started,
            leg,
            self.counts,
        )

    def _give(
        self, media: BranchMedia | None, order: MediaOrder, then: Callable[[MediaReply, float], None] | None = None
    ) -> None:
        assert self.session is not None
        if order.kind == DESCRIBE:
            self._begun = True
            if media is not None:
                media.ordered = True
        self._stack.questions.order_media(self.session.address, order, then)


def _changed(answer: Response, one: bytes, other: bytes) -> Response:
    headers, body = with_description(answer, one, other)
    return Response(answer.status, answer.reason, headers, body)


def _host(uri: str) -> str:
    """Of a Contact; "" if it can't be read."""
    try:
        return Uri.parse(uri).host
    except ParseError:
        return ""
