"""A binding, as all that tell of one have it."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from lambdas.contract.wire import Wire, WireFlow


class Push(Wire):
    """How a phone that sleeps is woken: what its Contact says of that (RFC 8599 §8.7), unescaped. Since version 9."""

    provider: str = Field(max_length=40)
    """The push notification service; "": none in particular (the phone asks which ones there are)."""
    prid: str = Field(default="", max_length=1024)
    """What the service knows the phone by; "": it isn't to be woken."""
    param: str = Field(default="", max_length=300)
    """What else the service needs."""
    vapid: str = ""
    """The public key that the phone knows the service's messages by (RFC 8292), in base64url; "": it needs none. The
    control plane fills it in."""


class ContactBinding(Wire):
    """A Contact of an AOR, and the flow to it."""

    aor: str
    """With the canonical domain."""
    contact: str
    """The Contact URI."""
    flow: WireFlow
    """The flow to the phone."""
    q: int = 1000
    """In thousandths."""
    instance: str = ""
    """RFC 5626 §4.1, without its brackets; "" if absent."""
    reg_id: int = 0
    """RFC 5626 §4.2; 0 if absent."""
    path: list[str] = []
    """The Path values (RFC 3327), the nearest proxy's first: the Route set of what goes to the Contact. Since
    version 8."""
    push: Push | None = None
    """How it is woken when it sleeps, so that it stays though its flow is dead; None: it can't be. Since version 9."""

    @classmethod
    def of(cls, *sources: Wire, **more: Any) -> Self:
        """What ``sources`` say of the same binding in fields of the same name, and ``more``."""
        said = {
            name: getattr(source, name)
            for source in sources
            for name in cls.model_fields
            if name in type(source).model_fields
        }
        return cls(**said | more)
