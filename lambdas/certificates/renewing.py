"""A run: what is due is ordered, orders under way go on, and who has to know is told. Many orders go on side by side,
each a step at a time, since each waits for minutes; what isn't done in the time there is goes on with the next run."""

from __future__ import annotations

import heapq
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from lambdas.certificates import names
from lambdas.certificates.authority import AcmeAuthority, AuthorityOut, OrderRefused, RateLimited, new_key
from lambdas.certificates.ending import tell_of_ending
from lambdas.certificates.ordering import Ordering
from lambdas.certificates.settings import AcmeSettings
from lambdas.certificates.zones import ZoneError, Zones
from lambdas.decisions import certificates as rules
from lambdas.decisions.certificates import Certified, ChallengePlace
from lambdas.lookups.aliases import Aliases
from lambdas.lookups.errors import OutsideError
from lambdas.repositories.connection import Common
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.tables import Tables
from lambdas.repositories.vault import Unsealed

log = logging.getLogger(__name__)

LONGEST_RUN = 225.0
"""Seconds, where nothing else bounds a run: it is over before the next one begins."""

_AT_ONCE = 10  # orders in one run
_LOOKED_AT = 100  # names whose records are looked at in one run
_LOOKS = 20  # at once
_SHORTEST, _LONGEST = 0.5, 60.0  # seconds between two steps of an order in one run
_MARGIN = 60.0  # seconds that a step may take beyond the end of the run
_AHEAD = 300.0  # seconds that clocks of authorities may be ahead


class Renewing:
    """Over the tables, with what is outside: ``zones`` of ours, ``aliases`` in DNS."""

    def __init__(
        self,
        settings: AcmeSettings,
        tables: Tables,
        zones: Zones,
        aliases: Aliases,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._tables = tables
        self._table = tables.certificates
        self._zones = zones
        self._aliases = aliases
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def make(cls) -> Renewing:
        """As the environment says. Raises NoAuthority."""
        return cls(AcmeSettings.read(), Tables.open(), Zones(), Aliases())

    def run(self, seconds: float = LONGEST_RUN) -> bool:
        """Work for so long at most; False if it is somebody else's turn."""
        mine, now = secrets.token_hex(8), self._clock()
        turns, end = self._tables.renewal_turns, now + seconds
        if not turns.change(lambda old: rules.take_turn(old, Common.region, mine, seconds + _MARGIN, now)):
            return False
        try:
            self._renew(end)
            tell_of_ending(self._tables, self._settings, self._clock())
        finally:
            turns.change(lambda old: rules.end_turn(old, mine))
        return True

    def _renew(self, end: float) -> None:
        now = self._clock()
        known, wanted = self._table.all(), names.wanted(self._tables.directory)
        self._forget(known, wanted, now)
        wishes = self._table.wishes(now) & wanted.keys()
        states = {name: replace(known.get(name, Certified(name)), tenant=tenant) for name, tenant in wanted.items()}
        for name in states.keys() & known.keys():
            if states[name] != known[name]:  # it is somebody else's now
                self._table.save(states[name])
        due = [state for state in states.values() if rules.due(state, now, state.name in wishes)]
        if not due:
            return
        due.sort(key=lambda one: rules.turn(one, now, one.name in wishes))
        try:
            places = self._places(due[:_LOOKED_AT], wishes)
            if places and now >= self._table.authority(self._settings.directory).paused_until:
                self._order(places, wishes, end)
        except AuthorityOut as error:
            self._pause(str(error), error.patience)
        except ZoneError as error:
            self._pause(str(error), 0.0)

    def _forget(self, known: dict[str, Certified], wanted: dict[str, str], now: float) -> None:
        """What nobody wants is kept for as long as it would be in use: a domain or an edge may come back."""
        for name, state in known.items():
            if name not in wanted and rules.due(replace(state, next_at=0.0), now):
                self._clear(state)
                self._table.remove(name)

    def _places(self, due: list[Certified], wishes: frozenset[str]) -> list[tuple[Certified, ChallengePlace]]:
        """Of those that point to us, where their challenges are answered. Others cost no order. Raises ZoneError."""
        zones = self._zones.names()
        with ThreadPoolExecutor(_LOOKS) as pool:
            ends = list(pool.map(self._end, (rules.challenge(state.name) for state in due)))
        found: list[tuple[Certified, ChallengePlace]] = []
        for state, end in zip(due, ends, strict=True):
            unknown = isinstance(end, OutsideError)
            place = str(end) if unknown else rules.place_of(state.name, str(end), self._settings.zone, zones)
            if isinstance(place, ChallengePlace):
                found.append((state, place))
                continue
            if state.order:
                self._fail(state, f"it doesn't point to us any more: {place}")
            else:
                self._table.save(rules.elsewhere(state, place, self._clock()))
            self._grant(state.name, wishes)
        return found

    def _end(self, name: str) -> str | OutsideError:
        try:
            return self._aliases.end(name)
        except OutsideError as error:
            return error

    def _order(self, places: list[tuple[Certified, ChallengePlace]], wishes: frozenset[str], end: float) -> None:
        """Raises AuthorityOut."""
        directory = self._settings.directory
        key, account = self._account()
        authority = AcmeAuthority(self._settings, key, account, self._clock)
        try:
            self._step(self._orderings(places, wishes, authority), end)
            self._table.keep_authority(directory, rules.Authority())
        finally:
            if authority.account not in ("", account):
                self._table.keep_account_url(directory, authority.account)
            authority.close()

    def _account(self) -> tuple[str, str]:
        """The key and the URL of our account, "" for one that isn't there yet: its key is kept before it is made."""
        directory = self._settings.directory
        found = self._table.account(directory)
        if found is None:
            found = new_key(), ""
            self._table.keep_account(directory, *found)
        return found

    def _orderings(
        self, places: list[tuple[Certified, ChallengePlace]], wishes: frozenset[str], authority: AcmeAuthority
    ) -> list[tuple[Certified, Ordering]]:
        """Those under way, and new ones as far as there may be any. Raises AuthorityOut."""
        made: list[tuple[Certified, Ordering]] = []
        for state, place in places[:_AT_ONCE]:
            now = self._clock()
            if not state.order and not self._tables.rations.take("certificate orders", rules.ORDERS_AN_HOUR, now):
                break
            self._grant(state.name, wishes)
            try:
                if now - state.ordered_at > rules.LONGEST_ORDER and state.order:
                    raise OrderRefused("the authority hasn't made it within a day")
                state = state if state.order else self._begin(state, authority)
                made.append((state, self._ordering(state, place, authority)))
            except Unsealed as error:
                self._fail(state, str(error))
            except OrderRefused as error:
                self._fail(state, str(error), error.patience)
                if isinstance(error, RateLimited):
                    break  # it may have had enough of all of us
        return made

    def _begin(self, state: Certified, authority: AcmeAuthority) -> Certified:
        """The key and where the order is are kept before anything else is done for it."""
        state = rules.begun(state, authority.begin(state.name), self._clock())
        self._table.begin(state, new_key())
        return state

    def _ordering(self, state: Certified, place: ChallengePlace, authority: AcmeAuthority) -> Ordering:
        """Raises Unsealed."""
        key = self._table.key_of_order(state.name)

        def noted(value: str) -> None:
            self._table.save(replace(state, record=(place.zone, place.record, value)))

        return Ordering(state.name, state.order, key, place, authority, self._zones, noted)

    def _step(self, orderings: Iterable[tuple[Certified, Ordering]], end: float) -> None:
        """Each in its turn, until all are through or it is ``end``. Raises AuthorityOut."""
        waiting = [(self._clock(), number, state, one) for number, (state, one) in enumerate(orderings)]
        heapq.heapify(waiting)
        while waiting:
            at, number, state, ordering = heapq.heappop(waiting)
            now = self._clock()
            if max(at, now) >= end:
                return  # what is left goes on with the next run
            self._sleep(max(0.0, at - now))
            try:
                came = ordering.step()
                if isinstance(came, str):
                    self._obtain(state, ordering.key, came)
                    continue
            except OrderRefused as error:
                self._fail(state, str(error), error.patience)
                continue
            except ZoneError as error:
                self._fail(state, str(error))
                continue
            now = self._clock()
            if came > _LONGEST:
                self._table.save(replace(self._as_kept(state), next_at=now + came))
            else:
                heapq.heappush(waiting, (now + max(came, _SHORTEST), number, state, ordering))

    # What became of it

    def _obtain(self, state: Certified, key: str, chain: str) -> None:
        """Raises OrderRefused if it is none that could be used."""
        leaf = checked(chain, key, state.name, self._clock())
        version = leaf.fingerprint(hashes.SHA256()).hex()[:16]
        begin, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        state = self._as_kept(state)
        self._table.obtain(rules.obtained(state, version, begin, end), chain)
        self._clear(state)
        log.info("%s has a certificate until %s", state.name, leaf.not_valid_after_utc)

    def _fail(self, state: Certified, why: str, patience: float = 0.0) -> None:
        """What is in use stays in use."""
        state = self._as_kept(state)
        self._clear(state)
        failed = rules.failed(replace(state, record=None), why, self._clock(), patience)
        self._table.save(failed)
        text = f"no certificate for {state.name}: {why}"
        log.warning("%s", text)
        self._tables.events.add(state.tenant, StoredEvent("certificate", self._clock(), text, state.name))

    def _pause(self, why: str, patience: float) -> None:
        """Nobody is asked for a while."""
        directory = self._settings.directory
        paused = rules.out(self._table.authority(directory), why, self._clock(), patience)
        log.warning("certificates can't be had, tried again in %.0f s: %s", paused.paused_until - self._clock(), why)
        self._account()  # there is one to note it with
        self._table.keep_authority(directory, paused)
        if paused.failures == 1:
            text = f"no certificates can be had: {why}"
            self._tables.events.add("", StoredEvent("certificate", self._clock(), text, directory))

    def _as_kept(self, state: Certified) -> Certified:
        """With what has been put into DNS for it meanwhile."""
        kept = self._table.get(state.name)
        return replace(state, record=kept.record) if kept is not None else state

    def _clear(self, state: Certified) -> None:
        """Take the challenge's answer out of DNS. One that stays does no harm: the next one takes its place."""
        if state.record is None:
            return
        try:
            self._zones.remove(*state.record)
        except ZoneError as error:
            log.warning("%s", error)

    def _grant(self, name: str, wishes: frozenset[str]) -> None:
        if name in wishes:
            self._table.grant(name)


def checked(chain: str, key: str, name: str, now: float) -> x509.Certificate:
    """The certificate that a chain begins with. Raises OrderRefused if it isn't for our key and name, or not now."""
    try:
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = {one.lower() for one in alternatives.get_values_for_type(x509.DNSName)}
    except (ValueError, x509.ExtensionNotFound) as error:
        raise OrderRefused(f"what the authority has sent is no certificate: {error}") from error
    ours = serialization.load_pem_private_key(key.encode(), None).public_key()
    if leaf.public_key() != ours or name not in covered:
        raise OrderRefused("the authority has sent somebody else's certificate")
    if not leaf.not_valid_before_utc.timestamp() - _AHEAD <= now < leaf.not_valid_after_utc.timestamp():
        raise OrderRefused("the authority has sent a certificate that isn't good now")
    return leaf
