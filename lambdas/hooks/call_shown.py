"""A call's record as people and their programs see it: in the API's lists, and in what webhooks are told."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from lambdas.repositories.calls import StoredCall as StoredCall

Time = Annotated[float, Field(description="Unix time in seconds.")]


class ShownLeg(BaseModel):
    to: Annotated[str, Field(description="The account, or the URI at the provider.")]
    provider: str
    edge: Annotated[str, Field(description="The edge address that it left from.")]
    number: Annotated[str, Field(description="What was called there, in E.164 form if it has one.")]
    status: Annotated[int, Field(description="Of its final response; 0 if there was none, or it was never tried.")]


class Call(BaseModel):
    id: str
    call_id: Annotated[str, Field(description="The SIP Call-ID.")]
    caller: Annotated[str, Field(description="An account or a number; `anonymous@anonymous.invalid` if it is hidden.")]
    asserted: Annotated[
        str, Field(description="Who a provider says it was, who asked to be hidden: for administration keys alone.")
    ]
    called: str
    started: Time
    ringing: Time | None
    answered: Annotated[float | None, Field(description="Unix time in seconds; null if nobody took the call.")]
    ended: Annotated[float | None, Field(description="Null while the call lasts, or if nobody saw its end.")]
    status: Annotated[int, Field(description="Of the final response: 200, or why nobody took the call.")]
    reason: Annotated[str, Field(description="What was said of its end (a Reason value, RFC 3326).")]
    ended_by: Annotated[
        str, Field(description='"caller", "called", "service" (a limit was reached), or "" if it isn\'t known.')
    ]
    edges: Annotated[tuple[str, str], Field(description="The edge addresses of the caller and of the called phone.")]
    account: Annotated[str, Field(description="The account that it counts to: who called, or had it sent on.")]
    providers: Annotated[
        tuple[str, str], Field(description="The provider accounts that it came from and went to; empty for none.")
    ]
    user_agents: Annotated[tuple[str, str], Field(description="The caller's and the called phone's.")]
    codecs: Annotated[list[str], Field(description="As answered, by medium, like `audio PCMA/8000`.")]
    legs: Annotated[list[ShownLeg], Field(description="Who was tried; first whoever answered.")]
    transferred_by: Annotated[str, Field(description="The account that has put the caller through; empty for none.")]


def shown(call: StoredCall, operator: bool = False) -> Call:
    """``operator``: for who runs the service, whom nobody is hidden from (RFC 3325 §7)."""
    return Call(
        id=call.id,
        call_id=call.call_id,
        caller=call.caller,
        asserted=call.asserted if operator else "",
        called=call.called,
        started=call.started,
        ringing=call.ringing,
        answered=call.answered,
        ended=call.ended,
        ended_by=call.ended_by,
        edges=call.edges,
        account=call.account,
        status=call.status,
        reason=call.reason,
        providers=_names(call.providers),
        user_agents=call.user_agents,
        codecs=list(call.codecs),
        legs=[
            ShownLeg(to=leg.to, provider=_name(leg.provider), edge=leg.address, number=leg.number, status=leg.status)
            for leg in call.legs
        ],
        transferred_by=call.transferred_by,
    )


def _name(provider: str) -> str:
    return provider.rpartition("/")[2]


def _names(providers: tuple[str, str]) -> tuple[str, str]:
    one, other = providers
    return _name(one), _name(other)
