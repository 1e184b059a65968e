"""What every model of the contract is made on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

WireFlow = tuple[str, int, str, str, int, int]
"""(edge address, edge port, transport, remote address, remote port, connection): RFC 5626 §3.1, as the edge sees it.
Connection is 0 for UDP."""


class Wire(BaseModel):
    """Fields unknown to an older reader are ignored. The text under a field says what it means, its unit, what an empty
    value stands for, and last ``Since version N.`` if it came later than 1 and than its model. (Pydantic could take it
    into schemas, but nobody reads those, and each cold start would take 0.03 s longer.)"""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Envelope(Wire):
    """What is sent is in one, or is one."""

    version: int
    """The contract's version that the sender was made with. Nobody acts on it: each field says by its default what its
    absence means, so that a peer needn't be known to be understood. It is sent because readers up to version 6 want it
    there, and says in a captured or recorded body what to compare that with."""
