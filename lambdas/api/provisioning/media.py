"""What people say of the way that calls' media are to take."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field

OwnMedia = Annotated[
    Literal["tenant", "auto", "relay", "direct"],
    Field(
        description="Whether media of its calls go by the edges: `auto` has them do so unless both ends can surely "
        "reach each other, `relay` always, `direct` only where profiles or address families differ; `tenant` is as its "
        "tenant says. Of the two ends of a call `relay` counts before `direct`, and that before `auto`."
    ),
]
Site = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^[a-z0-9-]*$",
        examples=["head-office"],
        description="The place where its phones are: between phones of one site that come from one public address and "
        "name addresses of one network media go directly. Empty: the tenant's.",
    ),
]


def kept(changes: dict[str, Any]) -> dict[str, Any]:
    """As an item keeps them."""
    return {**changes, "media": ""} if changes.get("media") == "tenant" else changes


def own(media: str) -> OwnMedia:
    """As it is shown."""
    return cast(OwnMedia, media or "tenant")
