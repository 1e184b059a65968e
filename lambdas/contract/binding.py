"""A binding, as all that tell of one have it."""

from __future__ import annotations

from typing import Any, Self

from lambdas.contract.wire import Wire, WireFlow


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
