"""One order at the certificate authority, a step at a time. What the next step is is told by how it stands there, so it
doesn't matter who has done those before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acme import challenges, messages

from lambdas.certificates.authority import AcmeAuthority, OrderRefused, said, signing_request
from lambdas.certificates.zones import Zones
from lambdas.decisions.certificates import ChallengePlace

_SOON = 1.0  # seconds until something has surely happened


class Ordering:
    """``key`` is the new certificate's; ``place`` is where the challenge is answered, and ``noted`` is told what is put
    there before it is."""

    def __init__(
        self,
        name: str,
        url: str,
        key: str,
        place: ChallengePlace,
        authority: AcmeAuthority,
        zones: Zones,
        noted: Callable[[str], None],
    ) -> None:
        self.name = name
        self._url = url
        self.key = key
        self._place = place
        self._authority = authority
        self._zones = zones
        self._noted = noted
        self._change = ""
        self._answered = False
        self._refusal = ""

    def step(self) -> float | str:
        """After how many seconds to go on; or the certificate's chain. Raises OrderRefused, AuthorityOut, ZoneError."""
        looked = self._authority.order(self._url)
        order: messages.Order = looked.body
        match order.status.name:
            case "pending":
                return self._prove(order)
            case "ready":
                self._authority.finalize(order, signing_request(self.key, self.name))
                return _SOON
            case "processing":
                return looked.patience
            case "valid" if order.certificate:
                return self._authority.chain(order.certificate)
            case status:
                raise OrderRefused(self._why(order) or f"the order is {status}")

    def _prove(self, order: messages.Order) -> float:
        """Answer the first authorization that isn't valid: some are from before (RFC 8555 §7.1.3)."""
        for url in order.authorizations or ():
            looked = self._authority.authorization(url)
            match looked.body.status.name:
                case "valid":
                    continue
                case "pending":
                    return self._answer(looked.body, looked.patience)
                case status:
                    raise OrderRefused(_failure(looked.body) or f"the authorization is {status}")
        return _SOON

    def _answer(self, authorization: messages.Authorization, patience: float) -> float:
        challenge = next(
            (one for one in authorization.challenges or () if isinstance(one.chall, challenges.DNS01)), None
        )
        if challenge is None:
            raise OrderRefused("the authority doesn't take DNS for a proof")
        if challenge.status.name != "pending":
            return patience  # it is looking
        if not self._change:
            value = self._authority.validation(challenge)
            self._noted(value)
            self._change = self._zones.put(self._place.zone, self._place.record, value)
        elif not self._answered:
            self._have_looked(challenge)
        elif self._refusal:
            raise OrderRefused(self._refusal)
        return _SOON

    def _have_looked(self, challenge: messages.ChallengeBody) -> None:
        """Once the record is everywhere, and once: some CAs call a challenge pending while they look, and would look
        again. One that has looked meanwhile takes no answer, and the authorization's state tells what came of it."""
        if not self._zones.everywhere(self._change):
            return
        self._answered = True
        try:
            self._authority.answer(challenge)
        except OrderRefused as error:
            self._refusal = str(error)

    def _why(self, order: messages.Order) -> str:
        """What has failed of an order that is over: CAs say it there, or with the authorization."""
        if order.error is not None:
            return said(order.error)
        return "; ".join(
            filter(None, (_failure(self._authority.authorization(url).body) for url in order.authorizations or ()))
        )


def _failure(authorization: Any) -> str:
    return "; ".join(said(one.error) for one in authorization.challenges or () if one.error is not None)
