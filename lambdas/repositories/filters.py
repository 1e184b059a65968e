"""Conditions by which DynamoDB leaves out what isn't asked for, so that it isn't read through here."""

from __future__ import annotations

from functools import reduce
from operator import and_

from pynamodb.attributes import BooleanAttribute, NumberAttribute
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path

from lambdas.repositories.models import DirectoryItem


def alike(kind: type[DirectoryItem], **values: str | bool | None) -> Condition | None:
    """That attributes of ``kind`` have these values; of a text or a number ``True`` and ``False`` ask whether there is
    any. None is as it may be."""
    found = [_of(kind, name, value) for name, value in values.items() if value is not None]
    return reduce(and_, found) if found else None


def _of(kind: type[DirectoryItem], name: str, value: str | bool) -> Condition:
    attribute = kind.get_attributes()[name]
    path = Path(attribute)
    equal: Condition = path == value
    if isinstance(attribute, BooleanAttribute) or not isinstance(value, bool):
        return equal
    nothing: Condition = (path == (0 if isinstance(attribute, NumberAttribute) else "")) | path.does_not_exist()
    return ~nothing if value else nothing
