"""A call's record as people and their programs see it: in the API's lists, and in what webhooks are told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lambdas.repositories.calls import StoredCall as StoredCall

Time = Annotated[float, Field(description="Unix time in seconds.")]


class ShownLeg(BaseModel):
    to: Annotated[str, Field(description="The account, or the URI at the provider.")]
    provider: str
    edge: Annotated[str, Field(description="The edge address that it left from.")]
    number: Annotated[str, Field(description="What was called there, in E.164 form if it has one.")]
    status: Annotated[int, Field(description="Of its final response; 0 if there was none, or it was never tried.")]


class ShownQuality(BaseModel):
    """What the relay knows of one side."""

    side: Annotated[Literal["caller", "called"], Field(description="Which one.")]
    packets: Annotated[int, Field(description="Those that came from it.")]
    longest_gap: Annotated[
        float | None, Field(description="Seconds without any from it, while it wasn't on hold; null: not measured.")
    ]
    lost: Annotated[
        int | None, Field(description="Packets lost on their way to it, as it says itself; null: it sends no RTCP.")
    ]
    jitter: Annotated[float | None, Field(description="Of what comes to it, in milliseconds; null: it sends no RTCP.")]
    mos: Annotated[float | None, Field(description="What it hears, from 1 to 4.5; null: it sends no RTCP.")]
    by: Annotated[Literal["rtcp", "packets"], Field(description="What is known: what it says, or what came from it.")]


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
    media: Annotated[
        Literal["", "direct", "relayed"], Field(description="Which way they took; empty where that isn't known.")
    ]
    media_why: Annotated[str, Field(description="Why, in a word, like `nat`, `profiles` or `one-site`.")]
    quality: Annotated[list[ShownQuality], Field(description="Of a relayed call that has ended.")]


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
        media=call.media,
        media_why=call.media_why,
        quality=[
            ShownQuality(**one.model_dump(), by="packets" if one.lost is None else "rtcp") for one in call.quality
        ],
    )


def _name(provider: str) -> str:
    return provider.rpartition("/")[2]


def _names(providers: tuple[str, str]) -> tuple[str, str]:
    one, other = providers
    return _name(one), _name(other)
