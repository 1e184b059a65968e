"""One transfer of a call across a border, carried out by this edge: towards the provider it is the user agent.

Theory of operation. Whoever was named is called in the name of whom the transferor talks with, without an offer. Who
answers makes one, which goes to the provider in a re-INVITE of the call that is under way; what the provider answers
goes back in the ACK (RFC 3725 §4.1). So each side knows the other's description, though their dialogs are two: from
then on the URIs that both keep say which is which, as in every call across a border, and nothing is kept here.

- *Nobody takes it*: the transferor is told why, and still has the call, whose provider has heard nothing of all this.
- *The provider doesn't take the new description*: who has answered is hung up, and the rest is the same.
- *The transferor hangs up before*, as phones do that don't want to know: the provider's side waits all the same. If
  nobody takes the call then, it gets that BYE.
- *The provider hangs up before*: who is being called is called no more.

Two calls of the transferor's with people outside become one in the same way, but that who is asked for an offer has
been called already, and that the dialog with it stays: whoever is put through takes the transferor's place in it.

It is one process's: a transfer that isn't done dies with it, and the transferor still has his call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol

from edge.providers.leg import ATTEMPTS, HIGHEST_CSEQ, base_after
from edge.providers.leg_token import (
    BadLegToken,
    DialogNames,
    LegToPhone,
    LegToProvider,
    RelayedMedia,
    open_way,
    seal_way,
)
from edge.proxy.forwarding import session_timer
from edge.proxy.forwarding.forwarder import Forwarder
from edge.proxy.forwarding.media_session import between
from edge.proxy.forwarding.own_requests import Responses
from edge.proxy.forwarding.response_context import Decider, ResponseContext
from edge.proxy.stack.answered_calls import leg_name
from edge.proxy.stack.stack import Stack
from edge.proxy.transfers.border_call import BorderCall, Speaker, contact_of, nothing
from edge.proxy.transfers.referral import Referral
from edge.proxy.transfers.subscription import Subscription
from edge.proxy.transfers.transferor import Transferor
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.incoming import Incoming
from edge.sip.message import Header, Request, Response
from edge.sip.uri import Uri
from lambdas.contract import CallName, CallTransferred, Side

_TRIES, _PAUSE = 3, 2.5  # of a re-INVITE that meets another one (RFC 3261 §14.1)
_FIRST = ATTEMPTS // 2  # of a number's attempts: the transferor's own requests may have used the ones before
_AHEAD = 1000  # numbers that the transferor may use up while the other one is rung
_PATIENCE = 5.0  # seconds in which phones hang up by themselves once they have heard of it
_ALLOW = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO"
_LEFT = 'SIP;cause=200;text="The other side has hung up"'


class Callee(NamedTuple):
    """Who has answered: the way there, our dialog with it and the Request-URI in that, and what it offers."""

    way: LegToPhone
    dialog: DialogNames
    uri: str
    offer: bytes
    content: list[Header]

    @property
    def name(self) -> str:
        """Of the call."""
        return leg_name(self.dialog.call_id, *self.dialog.tags, self.way.salt)


class Watcher(Protocol):
    """Whoever has begun a transfer."""

    def joined(self, call: BorderCall, there: LegToPhone) -> None:
        """The transferor isn't in ``call`` any more: its provider finds who is by ``there``."""

    def over(self, call: BorderCall) -> None:
        """Nothing more will come of it."""


class Transfer:
    """``timers`` is read by the TimerHeap."""

    def __init__(
        self,
        stack: Stack,
        forwarder: Forwarder,
        call: BorderCall,
        referral: Referral,
        flow: Flow,
        watcher: Watcher,
    ) -> None:
        """``flow`` is ours to send from."""
        self._stack = stack
        self._forwarder = forwarder
        self._speaker = Speaker(stack, forwarder)
        self._call = call
        self._referral = referral
        self._flow = flow
        self._watcher = watcher
        self._subscription = Subscription(self._speaker, call, flow, referral.subscribes)
        self._latest = call.incoming.cseq
        self._dialog = DialogNames(stack.ids.token(), _renamed(call.at_phone.local, stack.ids.token()), "")
        self._context: ResponseContext | None = None
        self._other: BorderCall | None = None
        self._callee: Callee | None = None
        self._media: RelayedMedia | None = None  # of what becomes of two calls
        self._acks: list[tuple[Incoming, LegToProvider | LegToPhone]] = []
        self._bye: Incoming | None = None
        self._tries = 0
        self._over = False
        self.timers: dict[str, int] = {}

    # What is heard of the transferor and of the provider

    def passed(self, cseq: int) -> None:
        """The transferor has sent something else in its dialog."""
        self._latest = max(self._latest, cseq)

    def hung_up(self, bye: Incoming) -> None:
        """The transferor has, and has its answer."""
        self._bye = bye
        if self._over:
            self._watcher.over(self._call)

    def provider_left(self, now: float) -> None:
        """There is nobody to be put through any more."""
        if self._context is not None and self._callee is None:
            self._context.cancel(now, _LEFT)

    # Calling

    def begin(self, decider: Decider, transferor: Transferor, now: float) -> None:
        """Raises Fault, before anything was done."""
        call, referral = self._call, self._referral
        headers: list[Header] = [("contact", f"Contact: <{call.contact}>"), ("allow", _ALLOW)]
        if referral.replaces:
            headers += [("replaces", f"Replaces: {referral.replaces}"), ("require", "Require: replaces")]
        if referral.by:
            headers.append(("referred-by", f"Referred-By: {referral.by}"))
        dialog = self._dialog._replace(remote=f"<{referral.uri}>")
        invite = self._speaker.made(self._flow, "INVITE", referral.uri, dialog, 1, headers)
        upstream = Responses(self._on_response, self._stack.ids.token())
        self._subscription.tell(100, "", now)
        way = self._way(base_after(self._latest + _AHEAD, call.way.base))
        self._context = self._forwarder.own_call(invite, upstream, transferor.parties, decider, way)
        decider.ask(self._context, "", [], now)

    def begin_between(self, other: BorderCall, now: float) -> None:
        """Join the call with ``other``, which the transferor has, too. Raises Fault, before anything was done."""
        keys = self._stack.fleet.tokens
        self._other = other
        self._dialog = dialog = _turned(other.at_phone)
        here = self._around
        if self._call.way.media is not None or other.way.media is not None:
            self._media = between(self._flow.address, self._stack.ids.token())
        way = replace(
            other.way,
            tenant="",  # one of the two borders reports the call's end
            phone=None,
            binding="",
            base=base_after(other.incoming.cseq, other.way.base) + 1,
            contact=other.contact,
            routes=other.routes,
            attempt=_FIRST,
            theirs=1,
            dialog=other.at_provider,
            media=self._media,
        )
        way = replace(way, sealed=seal_way(way, dialog.call_id, keys, dialog.tags[1]))
        headers: list[Header] = [("contact", f"Contact: <{self._back}>"), ("allow", _ALLOW)]
        invite = self._speaker.made(here, "INVITE", other.contact, dialog, 1, headers)
        self._subscription.tell(100, "", now)
        self._speaker.send(invite, way, self._on_response, now)

    @property
    def _around(self) -> Flow:
        """Where two borders meet: from us to ourselves."""
        return self._flow.around

    def _in_other(self, way: LegToProvider) -> LegToProvider:
        """``way`` as one of the call that goes on."""
        assert self._other is not None
        mine = self._other.way
        return replace(
            way, tenant=mine.tenant, started=mine.started, salt=mine.salt, phone=None, binding="", media=self._media
        )

    @property
    def _back(self) -> str:
        """The URI by which the other one's border finds the provider."""
        call, dialog, keys = self._call, self._dialog, self._stack.fleet.tokens
        way = self._in_other(self._way(base_after(call.incoming.cseq + _AHEAD, call.way.base)))
        user = seal_way(replace(way, contact=call.contact), dialog.call_id, keys, dialog.tags[0])
        return self._stack.fleet.uri(self._around, user)

    def _way(self, base: int) -> LegToProvider:
        """By which the callee finds the provider. Whose call it is its record will say."""
        call = self._call
        return LegToProvider(
            call.way.provider, call.way.flow, base, call.way.tenant, call.way.started, call.way.transfers,
            to_uri="" if call.way.translated else call.way.to_uri,  # who isn't shown stays so
            routes=call.routes, theirs=1, dialog=call.at_provider,
        )  # fmt: skip

    def _on_response(self, response: Response, now: float) -> None:
        """Of whoever is called."""
        if response.status >= 300:
            self._failed(response, now)
        elif response.status < 200:
            self._subscription.tell(response.status, response.reason, now)
        else:
            self._answered(response, now)

    def _answered(self, response: Response, now: float) -> None:
        callee = self._read(response)
        if self._callee is not None and callee.dialog == self._callee.dialog:
            self._acknowledge(now)  # it hasn't heard us yet
        elif self._over or self._callee is not None:
            self._hang_up(callee, now)  # too late
        elif not callee.offer:
            self._hang_up(callee, now)
            self._refuse(488, "Not Acceptable Here: answered without an offer", now)
        else:
            self._callee = callee
            self._join(callee, now)

    def _read(self, response: Response) -> Callee:
        """Raises BadLegToken, ParseError: never, of an answer that has come across a border of ours."""
        uri, call_id = contact_of(response), self._dialog.call_id
        dialog = self._dialog._replace(remote=response.get("to") or "")
        way = open_way(Uri.parse(uri).user, call_id, self._stack.fleet.tokens, dialog.tags[1])
        if isinstance(way, LegToProvider):
            mine = self._in_other(way)
            way = LegToPhone(
                self._call.way.provider, self._around, "", uri, mine.tenant, mine.started, False, False,
                salt=mine.salt, theirs=1, media=self._media,
            )  # fmt: skip
        if way is None:
            raise BadLegToken("not a way of ours")
        return Callee(way, dialog, uri, response.body, _content(response))

    # Joining the two

    def _join(self, callee: Callee, now: float) -> None:
        """Offer to the provider what ``callee`` has offered: as the callee itself would by a re-INVITE later on."""
        call, keys = self._call, self._stack.fleet.tokens
        way = replace(
            self._way(base_after(self._latest, call.way.base)),
            tenant=callee.way.tenant,
            started=callee.way.started,
            salt=callee.way.salt,
            contact=call.contact,
            attempt=_FIRST + 2 * self._tries,
            phone=callee.way.flow,
            binding=callee.way.binding,
            media=callee.way.media,
        )
        way = replace(way, sealed=seal_way(way, callee.dialog.call_id, keys, callee.dialog.tags[0]))
        headers: list[Header] = [("contact", f"Contact: <{callee.way.contact}>"), ("allow", _ALLOW), *callee.content]
        dialog = _turned(callee.dialog)
        invite = self._speaker.made(callee.way.flow, "INVITE", call.contact, dialog, 0, headers, callee.offer)
        self._tries += 1

        def answered(response: Response, at: float) -> None:
            self._on_joined(callee, way, response, at)

        self._speaker.send(invite, way, answered, now)

    def _on_joined(self, callee: Callee, way: LegToProvider, response: Response, now: float) -> None:
        if response.status < 200:
            return
        if self._over:
            self._acknowledge(now)
        elif response.status == 491 and self._tries < _TRIES:
            self._stack.timers.start(self, "join", now + _PAUSE)
        elif response.status >= 300:
            self._hang_up(callee, now)
            self._failed(response, now)
        else:
            self._joined(callee, way, response, now)

    def _joined(self, callee: Callee, way: LegToProvider, response: Response, now: float) -> None:
        try:
            uri = contact_of(response)
        except ParseError:
            uri = self._call.contact  # it stays where it is
        else:
            keys, dialog = self._stack.fleet.tokens, callee.dialog
            found = open_way(Uri.parse(uri).user, dialog.call_id, keys, dialog.tags[0])
            way = found if isinstance(found, LegToProvider) else replace(way, contact="")
        speaker, dialog = self._speaker, callee.dialog
        self._acks = [
            (speaker.made(callee.way.flow, "ACK", uri, _turned(dialog), 0), way),
            (speaker.made(self._flow, "ACK", callee.uri, dialog, 1, _content(response), response.body), callee.way),
        ]
        self._acknowledge(now)
        self._report(callee, now)
        self._subscription.tell(200, "", now)
        self._over = True
        self._watcher.joined(self._call, replace(callee.way, dialog=dialog))
        self._forwarder.forget_media(self._call.way.media)
        if self._other is not None:
            self._leave_other(self._other, now)
        if self._bye is None:
            self._stack.timers.start(self, "bye", now + _PATIENCE)
        else:
            self._watcher.over(self._call)

    def _leave_other(self, other: BorderCall, now: float) -> None:
        """Somebody else has the transferor's place there (RFC 3891 §3)."""
        self._forwarder.forget_media(other.way.media)
        dialog = _turned(self._dialog)
        here = LegToPhone(
            other.way.provider, self._around, "", self._back, other.way.tenant, other.way.started, False, False,
            salt=other.way.salt, theirs=1, dialog=dialog, media=self._media,
        )  # fmt: skip
        self._watcher.joined(other, here)
        bye = self._speaker.made(self._flow, "BYE", other.contact, other.at_phone, 1)
        self._speaker.send(bye, other.phone, nothing, now)

    def _acknowledge(self, now: float) -> None:
        for ack, way in self._acks:
            self._speaker.acknowledge(ack, way, now)

    def _report(self, callee: Callee, now: float) -> None:
        call, way = self._call, self._call.way
        self._stack.answered_calls.ended(call.name, now)
        left = CallName(tenant=way.tenant, call=call.name, started=way.started)
        caller_at = call.incoming.flow.address if way.translated else way.flow.address
        session_timer.note(self._stack, caller_at, left, 0, now)  # who would end it, would end what it has become
        self._stack.counters["transfers"] += 1
        self._stack.questions.journal(
            CallTransferred(
                tenant=way.tenant,
                call=call.name,
                started=way.started,
                to=callee.name,
                to_started=callee.way.started,
                at=self._stack.wall(now),
                sides=self._sides(callee) if self._other is not None else [],
            )
        )

    def _sides(self, callee: Callee) -> list[Side]:
        """What the two borders would send each other."""
        call_id, local, remote = callee.dialog
        return [
            Side(uri=callee.uri, sender=local, receiver=remote, call_id=call_id, cseq=HIGHEST_CSEQ),
            Side(uri=self._back, sender=remote, receiver=local, call_id=call_id, cseq=HIGHEST_CSEQ),
        ]

    # The end

    def _failed(self, response: Response, now: float) -> None:
        self._refuse(response.status, response.reason, now)

    def _refuse(self, status: int, reason: str, now: float) -> None:
        if self._over:
            return
        self._subscription.tell(status, reason, now)
        self._over = True
        self._forwarder.forget_media(self._media)
        self._watcher.over(self._call)
        if self._bye is not None:
            self._speaker.send(self._bye, self._call.way, nothing, now, reports=True)

    def _hang_up(self, callee: Callee, now: float) -> None:
        """Who has answered in vain."""
        speaker, dialog = self._speaker, callee.dialog
        speaker.acknowledge(speaker.made(self._flow, "ACK", callee.uri, dialog, 1), callee.way, now)
        if self._other is None:
            speaker.send(speaker.made(self._flow, "BYE", callee.uri, dialog, 2), callee.way, nothing, now, reports=True)

    def on_timer(self, name: str, now: float) -> None:
        if name == "join" and self._callee is not None:
            self._join(self._callee, now)
        elif name == "bye" and self._bye is None:
            call = self._call
            bye = self._speaker.made(self._flow, "BYE", call.contact, call.at_phone, 1)
            self._speaker.send(bye, call.phone, nothing, now)
            self._watcher.over(call)


def _turned(dialog: DialogNames) -> DialogNames:
    """As the other end has it."""
    return DialogNames(dialog.call_id, dialog.remote, dialog.local)


def _renamed(value: str, tag: str) -> str:
    """The value of a From, with another tag."""
    address = value[: value.rfind(">") + 1] or value.partition(";")[0]
    return f"{address};tag={tag}"


def _content(message: Request | Response) -> list[Header]:
    return [header for header in message.headers if header[0].startswith("content-") and header[0] != "content-length"]
