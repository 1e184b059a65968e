"""One REGISTER from its arrival to its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.proxy import registration
from edge.proxy.authentication import Authenticator
from edge.proxy.validation import Incoming, check_text
from edge.sip.transaction import ServerTransaction
from lambdas.contract import Accept, Challenge, Decision, Reject

if TYPE_CHECKING:
    from edge.proxy.core import Core


def register(
    core: Core, authenticator: Authenticator, incoming: Incoming, server: ServerTransaction, now: float
) -> None:
    """Challenge, ask, answer with all bindings, and keep those that are here. Raises Fault."""
    fleet = core.fleet_now
    realm = registration.realm_of(incoming, fleet)
    check_text(incoming.request, incoming.to_uri())
    credentials = authenticator.credentials(incoming, realm, fleet, now)
    token = core.new_token()
    question = registration.question(token, incoming, realm, credentials, fleet)

    def decided(decision: Decision | None, at: float) -> None:
        match decision:
            case Accept():
                registration.keep(decision, question.aor, incoming.flow, core.bindings, core.fleet_now, at)
                headers = registration.contact_headers(decision.bindings)
                core.respond(server, incoming.request, 200, at, headers)
            case Reject():
                core.reject(server, incoming, decision, at)
            case Challenge():
                core.challenge(server, incoming, realm, at)
            case None:
                core.unavailable(server, incoming, at)
            case _:
                core.respond(server, incoming.request, 500, at)

    core.put_question(token, question, decided, now)
