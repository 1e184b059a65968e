"""Certificates that the control plane gets: fetched when there are new ones, and kept on the disk, so that TLS goes on
after a restart in the dark. They are used for as long as nothing better is known, even past their end: some phones
don't look, and nothing is worse for those that do."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from edge.control.client import ControlClient
from edge.control.store import StateStore
from edge.runtime.catching_up import CatchUp
from edge.transport.certificates import Certificate, CertificateError, Certificates
from lambdas.contract import (
    MOST_CERTIFICATES,
    VERSION,
    CertificatesRequest,
    CertificateVersion,
    EdgeCertificate,
)

log = logging.getLogger(__name__)

_RETRY = 10.0  # seconds until those that weren't given are asked for again
_KIND = "certificate"


class FetchedCertificates:
    """Keeps ``certificates`` as the control plane has them. ``edges`` tells the names of edges, this one's own first:
    clients that ask for no name, or for one without a certificate, get the first that there is of those."""

    def __init__(
        self,
        control: ControlClient,
        boot: str,
        store: StateStore,
        certificates: Certificates,
        edges: Callable[[], Sequence[str]],
        counters: Counter[str],
        retry: float = _RETRY,
    ) -> None:
        self._control = control
        self._boot = boot
        self._store = store
        self._certificates = certificates
        self._edges = edges
        self._counters = counters
        self._wanted: dict[str, str] | None = None
        self._kept: dict[str, EdgeCertificate] = {}
        self._useless: set[tuple[str, str]] = set()
        self._catching_up = CatchUp("certificates", self._catch_up, retry)

    def load(self) -> None:
        """What is on the disk."""
        for name, data in self._store.load(_KIND):
            try:
                found = EdgeCertificate.model_validate_json(data)
            except ValueError:
                log.warning("the certificate of %s was kept in a form that can't be read; it is asked for again", name)
                continue
            if self._usable(found):
                self._kept[name] = found
        self._replace()

    def told(self, wanted: Sequence[CertificateVersion]) -> None:
        """All that there are now."""
        self._wanted = {one.name: one.version for one in wanted}
        self._catching_up.told()

    async def run(self) -> None:
        await self._catching_up.run()

    async def _catch_up(self) -> bool:
        """Whether all are here now."""
        wanted = dict(self._wanted or {})
        gone = [name for name in self._kept if name not in wanted]
        missing = [name for name in wanted if not self._has(name, wanted[name])]
        came: dict[str, EdgeCertificate] = {}
        for start in range(0, len(missing), MOST_CERTIFICATES):
            names = missing[start : start + MOST_CERTIFICATES]
            reply = await self._control.certificates(CertificatesRequest(version=VERSION, boot=self._boot, names=names))
            if reply is None:
                break  # those that have come are used all the same
            came |= {one.name: one for one in reply.certificates if one.name in names and self._usable(one)}
        if came or gone:
            self._kept = {name: one for name, one in (self._kept | came).items() if name not in gone}
            values = [(name, one.model_dump_json().encode()) for name, one in came.items()]
            await asyncio.to_thread(self._store.keep, _KIND, [*values, *((name, b"") for name in gone)])
            self._replace()
        return all(self._has(name, version) for name, version in wanted.items())

    def _has(self, name: str, version: str) -> bool:
        """Or has no use for it."""
        return (name, version) in self._useless or (name in self._kept and self._kept[name].version == version)

    def _usable(self, one: EdgeCertificate) -> bool:
        """One that isn't mustn't keep others from being used; that of before stays."""
        try:
            Certificates().replace([_entry(one)])
        except CertificateError as error:
            self._useless.add((one.name, one.version))
            self._counters["certificate_failures"] += 1
            log.error("the control plane has given what can't be used: %s", error)
            return False
        return True

    def _replace(self) -> None:
        turns = {name: turn for turn, name in enumerate(self._edges())}
        ordered = sorted(self._kept.values(), key=lambda one: (turns.get(one.name, len(turns)), one.name))
        self._certificates.replace([_entry(one) for one in ordered])
        log.info("certificates in use: %d", len(ordered))


def _entry(one: EdgeCertificate) -> Certificate:
    return Certificate(one.chain, one.key, (one.name,))
