"""REFER in calls across a border: the edge is the user agent there, so it carries them out itself (RFC 3515)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from edge.providers.agent import Agent
from edge.providers.leg_token import UNNUMBERED, LegToPhone, LegToProvider
from edge.proxy.forwarding.dialog_guard import DialogGuard, Doubt
from edge.proxy.forwarding.forwarder import Forwarder
from edge.proxy.forwarding.record_route import DialogRoute, dialog_of
from edge.proxy.routing.asking import Asking
from edge.proxy.routing.kept_routes import KeptRoutes
from edge.proxy.stack.answers import refuse, reject, respond, unavailable
from edge.proxy.stack.authentication import Presented
from edge.proxy.stack.flow_token import Destination
from edge.proxy.stack.stack import Stack
from edge.proxy.stack.validation import check_secure
from edge.proxy.transfers.border_call import BorderCall
from edge.proxy.transfers.referral import Referral
from edge.proxy.transfers.transfer import Transfer
from edge.proxy.transfers.transferor import Transferor
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header
from edge.sip.telephone import party_of
from edge.sip.transaction import ServerTransaction
from edge.sip.uri import Uri
from lambdas.contract import Challenge, Decision, Proceed, Reject

_MOST = 20_000  # calls that were transferred, remembered
_MOST_SPOKEN = 2000  # calls with people outside in which phones have said something

Dialog = tuple[str, frozenset[str]]
"""Call-ID and tags, whoever's side it is."""

OnAdmitted = Callable[[ServerTransaction, float], None]


class Transfers:
    """Those under way, and what has become of others."""

    def __init__(self, stack: Stack, agent: Agent, kept: KeptRoutes, guard: DialogGuard, forwarder: Forwarder) -> None:
        self._stack = stack
        self._agent = agent
        self._kept = kept
        self._guard = guard
        self._forwarder = forwarder
        self._under_way: dict[str, Transfer] = {}
        self._gone: OrderedDict[str, LegToPhone] = OrderedDict()  # the call that was left -> whom its provider has now
        self._spoken: OrderedDict[Dialog, tuple[Incoming, LegToProvider]] = OrderedDict()

    def in_dialog(self, incoming: Incoming, route: DialogRoute, now: float) -> bool:
        """Whether a request is dealt with here: REFER, and what still comes in calls that were transferred. Raises
        Fault, and Slowed."""
        target = route.target
        method = incoming.request.method
        if isinstance(target, Destination) or incoming.flow.internal:
            return False
        if method == "REFER" and isinstance(target, LegToProvider) and self._carries_out(target):
            self._refer(incoming, route, target, now)
            return True
        if isinstance(target, LegToProvider):
            self.note(incoming, target)
        if not self._under_way and not self._gone:
            return False
        name = dialog_of(incoming, target, self._stack.fleet)[1]
        transfer, moved = self._under_way.get(name), self._gone.get(name)
        if isinstance(target, LegToPhone):
            if transfer is not None and method == "BYE":
                transfer.provider_left(now)
            if moved is None or target.flow.internal:
                return False
            self._forwarder.in_dialog(incoming, route._replace(target=moved), now)  # it goes on as if nothing had been
            return True
        if method == "BYE" and (transfer is not None or moved is not None):
            self._hung_up(incoming, route, transfer, now)
            return True
        if moved is not None:
            raise Fault(481)
        if transfer is not None:
            transfer.passed(incoming.cseq)
        return False

    def note(self, incoming: Incoming, way: LegToProvider) -> None:
        """What a phone has sent last in a call with somebody outside: another transfer may name that call."""
        if incoming.flow.internal or not self._carries_out(way):
            return
        dialog = incoming.call_id, frozenset((incoming.from_tag, incoming.to_tag))
        self._spoken[dialog] = incoming, way
        self._spoken.move_to_end(dialog)
        if len(self._spoken) > _MOST_SPOKEN:
            self._spoken.popitem(last=False)

    def ended(self, name: str, now: float) -> None:
        """Another edge has seen the end of a call."""
        transfer = self._under_way.get(name)
        if transfer is not None:
            transfer.provider_left(now)

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    def _carries_out(self, way: LegToProvider) -> bool:
        """Unless the provider does (``transfers``), or older edges couldn't go on with the call."""
        return not way.transfers and way.theirs != UNNUMBERED and self._stack.fleet.reads_joined

    # From the transferor

    def _refer(self, incoming: Incoming, route: DialogRoute, way: LegToProvider, now: float) -> None:
        """Raises Fault, and Slowed."""
        stack = self._stack
        doubt = self._guard.doubt(incoming, route, now)
        referral = Referral.of(incoming, stack.fleet)
        if referral.secure:
            check_secure(way.flow)
        call = BorderCall.of(incoming, way, dialog_of(incoming, way, stack.fleet)[1], stack.fleet.tokens)
        held = stack.bindings.get(way.binding)
        presented = doubt.presented if doubt is not None else None
        if presented is None and held is None:
            presented = self._guard.credentials(incoming, now)  # nothing here says whose phone it is
        aor = held.aor if held is not None else presented.account if presented is not None else ""

        def admitted(server: ServerTransaction, at: float) -> None:
            self._begin(server, call, referral, aor, presented, at)

        self._admit(incoming, route, doubt, admitted, now)

    def _admit(self, incoming: Incoming, route: DialogRoute, doubt: Doubt | None, then: OnAdmitted, now: float) -> None:
        """Go on once the sender is known to be of the dialog."""
        stack, request = self._stack, incoming.request
        server = stack.serve(incoming, now)
        if doubt is None:
            then(server, now)
            return
        server.once = doubt.presented is not None and doubt.presented.grant is None

        def decided(decision: Decision | None, at: float) -> None:
            match decision:
                case Proceed():
                    then(server, at)
                case Reject():
                    reject(server, request, decision, at)
                case Challenge():
                    realm, algorithms = stack.fleet.default_domain, decision.algorithms
                    fault = stack.authenticator.fault(incoming, realm, stack.fleet, at, algorithms=algorithms)
                    refuse(server, request, fault, at)
                case _:
                    unavailable(server, request, stack.counters, at)

        self._guard.ask(doubt, incoming, route, decided, now)

    def _begin(
        self,
        server: ServerTransaction,
        call: BorderCall,
        referral: Referral,
        aor: str,
        presented: Presented | None,
        now: float,
    ) -> None:
        stack, refer = self._stack, call.incoming
        if call.name in self._under_way:
            refuse(server, refer.request, Fault(491), now)
            return
        if not stack.recording:
            unavailable(server, refer.request, stack.counters, now)
            return
        other = self._other_of(referral, call)
        if other is not None and other.name in self._under_way:
            refuse(server, refer.request, Fault(491), now)
            return
        transferor = Transferor(stack, call, referral, aor, presented, _named_in(call.at_phone.local))

        remote = call.way.flow
        transport = "tls" if remote.secure else "udp"
        flow = Flow(refer.flow.address, self._agent.port(transport), transport, remote.host, remote.remote_port)
        transfer = Transfer(stack, self._forwarder, call, referral, flow, self)
        headers: list[Header] = [("contact", f"Contact: <{refer.request.uri}>")]
        if not referral.subscribes:
            headers.append(("refer-sub", "Refer-Sub: false"))
        respond(server, refer.request, 202, now, headers, "Accepted")
        self._under_way[call.name] = transfer
        if other is not None:
            transfer.begin_between(other, now)
        else:
            transfer.begin(Asking(stack, self._kept, transferor), transferor, now)

    def _other_of(self, referral: Referral, call: BorderCall) -> BorderCall | None:
        """The transferor's other call with somebody outside, if that is the one to be replaced."""
        call_id, *params = referral.replaces.split(";")
        tags = frozenset(param.partition("=")[2] for param in params if param.partition("=")[0].endswith("-tag"))
        found = self._spoken.get((call_id, tags))
        if found is None:
            return None
        incoming, way = found
        name = dialog_of(incoming, way, self._stack.fleet)[1]
        if incoming.flow != call.incoming.flow or way.tenant != call.way.tenant or name == call.name:
            return None
        return BorderCall.of(incoming, way, name, self._stack.fleet.tokens, call.phone.contact)

    def _hung_up(self, incoming: Incoming, route: DialogRoute, transfer: Transfer | None, now: float) -> None:
        """The transferor has: that ends its own part only. Raises Fault, and Slowed."""

        def admitted(server: ServerTransaction, at: float) -> None:
            if transfer is not None:
                transfer.hung_up(incoming)
            respond(server, incoming.request, 200, at)

        self._admit(incoming, route, self._guard.doubt(incoming, route, now), admitted, now)

    # What becomes of them

    def joined(self, call: BorderCall, there: LegToPhone) -> None:
        """The provider may still send to where the transferor is, and the transferor may not know yet."""
        self._gone[call.name] = there
        if len(self._gone) > _MOST:
            self._gone.popitem(last=False)

    def over(self, call: BorderCall) -> None:
        """Nothing more will come of it."""
        del self._under_way[call.name]


def _named_in(value: str) -> str:
    """Who that is."""
    try:
        return party_of(Uri.parse(NameAddr.parse(value).uri))
    except ParseError:
        return ""
