"""What is looked up outside, each made when it is first needed: what they need takes long to import, and most requests
need none."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdas.lookups.enum import Enum
    from lambdas.lookups.mail import Mail
    from lambdas.lookups.pages import Pages
    from lambdas.lookups.proof import Proof


class Lookups:
    """One for each process."""

    @cached_property
    def enum(self) -> Enum:
        from lambdas.lookups.enum import Enum

        return Enum()

    @cached_property
    def pages(self) -> Pages:
        from lambdas.lookups.pages import Pages

        return Pages()

    @cached_property
    def proof(self) -> Proof:
        from lambdas.lookups.proof import Proof

        return Proof()

    @cached_property
    def mail(self) -> Mail:
        from lambdas.lookups.mail import Mail

        return Mail()
