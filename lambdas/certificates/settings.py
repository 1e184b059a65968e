"""What the environment says of certificates."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


class NoAuthority(Exception):
    """There are no certificates; the text says how they would be had."""


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """``directory`` is the authority's URL; ``mail`` who it can write to, and who is told what ends soon. ``eab_id``
    and ``eab_key`` (base64url) bind our account to one that we have there otherwise (RFC 8555 §7.3.4). ``zone`` is
    where we answer challenges of names whose own zones aren't ours, "" for nowhere."""

    directory: str
    mail: str = ""
    eab_id: str = ""
    eab_key: str = field(default="", repr=False)
    zone: str = ""

    @classmethod
    def read(cls) -> AcmeSettings:
        """Raises NoAuthority."""
        given = os.environ
        if not given.get("ACME_DIRECTORY"):
            raise NoAuthority("ACME_DIRECTORY has to say at which authority: the URL of its directory")
        return cls(
            directory=given["ACME_DIRECTORY"],
            mail=given.get("CERTIFICATE_MAIL", ""),
            eab_id=given.get("ACME_EAB_ID", ""),
            eab_key=given.get("ACME_EAB_KEY", ""),
            zone=given.get("ACME_ZONE", "").lower().strip("."),
        )
