"""PynamoDB models of what is in the table of calls: records, what is going on now, and what happened."""

from __future__ import annotations

from pynamodb.attributes import JSONAttribute, ListAttribute, NumberAttribute, UnicodeAttribute, UnicodeSetAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from lambdas.repositories.connection import Common, Item
from lambdas.repositories.models import PREFIX


class CallsByAccount(GlobalSecondaryIndex["CallItem"]):
    """An account's calls, by start."""

    class Meta(Common):
        index_name = "by-account"
        projection = AllProjection()

    account = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class OpenCallsByAddress(GlobalSecondaryIndex["CallItem"]):
    """The calls whose callers are at an edge address and that nobody has seen end, by when they have to end."""

    class Meta(Common):
        index_name = "open"
        projection = AllProjection()

    address = UnicodeAttribute(hash_key=True)
    deadline = NumberAttribute(range_key=True)


class CallItem(Item):
    """That a call was answered, or that nobody took it, its end, or what ending it takes. ``pk`` is ``tenant#day``,
    ``sk`` is ``start#call#answered``, ``…#failed``, ``…#ended`` or ``…#open``; ``call`` names the Call-ID and the leg
    that answered. ``legs``, ``sides`` and ``quality`` are JSON; ``asserted`` is for operators only. ``joined`` are the
    keys of other calls that end with this one, ``left`` is when it has gone on as one of those."""

    class Meta(Common):
        table_name = f"{PREFIX}-calls"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    account = UnicodeAttribute(null=True)
    call = UnicodeAttribute()
    call_id = UnicodeAttribute(null=True)
    caller = UnicodeAttribute(null=True)
    asserted = UnicodeAttribute(null=True)
    called = UnicodeAttribute(null=True)
    started = NumberAttribute(null=True)
    invited = NumberAttribute(null=True)
    ringing = NumberAttribute(null=True)
    answered = NumberAttribute(null=True)
    edges = ListAttribute[str](null=True)
    ended = NumberAttribute(null=True)
    ended_by = UnicodeAttribute(null=True)
    tenant = UnicodeAttribute(null=True)
    address = UnicodeAttribute(null=True)
    deadline = NumberAttribute(null=True)
    sides = UnicodeAttribute(null=True)
    status = NumberAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    providers = ListAttribute[str](null=True)
    user_agents = ListAttribute[str](null=True)
    codecs = ListAttribute[str](null=True)
    legs = UnicodeAttribute(null=True)
    counted = ListAttribute[str](null=True)
    attempt = UnicodeAttribute(null=True)
    why = UnicodeAttribute(null=True)
    parties = ListAttribute[str](null=True)
    transferred_by = UnicodeAttribute(null=True)
    media = UnicodeAttribute(null=True)
    media_why = UnicodeAttribute(null=True)
    quality = UnicodeAttribute(null=True)
    joined = JSONAttribute(null=True)
    left = NumberAttribute(null=True)
    ttl = NumberAttribute()
    by_account = CallsByAccount()
    open_calls = OpenCallsByAddress()


class UsageItem(Item):
    """What an account or tenant is using, in the table of calls. ``pk`` is ``usage#scope``, ``sk`` says what it is: a
    Region's count, a day's cost in a Region, or a call's slot, with the key of its open-call item."""

    class Meta(Common):
        table_name = f"{PREFIX}-calls"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    revision = UnicodeAttribute(null=True)
    minute = NumberAttribute(null=True)
    in_minute = NumberAttribute(null=True)
    day = UnicodeAttribute(null=True)
    in_day = NumberAttribute(null=True)
    spent = NumberAttribute(null=True)
    expires = NumberAttribute(null=True)
    rate = NumberAttribute(null=True)
    answered = NumberAttribute(null=True)
    latest = NumberAttribute(null=True)
    open_pk = UnicodeAttribute(null=True)
    open_sk = UnicodeAttribute(null=True)
    ttl = NumberAttribute(null=True)


class EventItem(Item):
    """Something that a tenant should know of, in the table of calls. ``pk`` is ``tenant#events#day``, ``sk`` the time
    in milliseconds and a random part."""

    class Meta(Common):
        table_name = f"{PREFIX}-calls"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    kind = UnicodeAttribute()
    at = NumberAttribute()
    text = UnicodeAttribute()
    about = UnicodeAttribute(default="")
    call_id = UnicodeAttribute(default="")
    ttl = NumberAttribute()


class AbuseByDay(GlobalSecondaryIndex["AbuseItem"]):
    """What was tried on one day; the same index as CallsByAccount."""

    class Meta(Common):
        index_name = "by-account"
        projection = AllProjection()

    account = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class AbuseItem(Item):
    """What was tried in a stretch of time, in the table of calls. ``pk`` is ``abuse#what``, ``sk`` the beginning of the
    stretch and the Region that has counted; ``others`` are the sources of failures of an account. ``tried`` are the
    accounts that a source has tried, and how often, ``reported`` when the last failure was that an edge has told of
    afterwards; ``once`` names what mustn't be added again. ``account`` is ``abuse#day``, so that a day's can be found
    by the index of accounts' calls."""

    class Meta(Common):
        table_name = f"{PREFIX}-calls"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    account = UnicodeAttribute(null=True)
    times = NumberAttribute(null=True)
    others = UnicodeSetAttribute(null=True)
    once = UnicodeSetAttribute(null=True)
    tried = JSONAttribute(null=True)
    reported = JSONAttribute(null=True)
    known = JSONAttribute(null=True)
    ttl = NumberAttribute()
    by_day = AbuseByDay()


class ProbeItem(Item):
    """A probe of an edge address, an hour's sums of them, or an incident, in the table of calls. ``pk`` is
    ``probes#day``, or with a Region's own sums ``probe-hours#region`` or ``incidents#region``; ``sk`` begins with the
    time."""

    class Meta(Common):
        table_name = f"{PREFIX}-calls"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    address = UnicodeAttribute()
    region = UnicodeAttribute(default="")
    at = NumberAttribute()
    register = NumberAttribute(null=True)
    call = NumberAttribute(null=True)
    probes = NumberAttribute(null=True)
    good = NumberAttribute(null=True)
    ended = NumberAttribute(null=True)
    ttl = NumberAttribute()


class PushItem(Item):
    """``push#PHONE``, ``last``: ``at`` when it was sent a push last (Unix time). ``push#AOR``, a minute of Unix time:
    the ``number`` of pushes that its phones were sent in it."""

    class Meta(Common):
        table_name = f"{PREFIX}-calls"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    at = NumberAttribute(null=True)
    number = NumberAttribute(null=True)
    ttl = NumberAttribute()
