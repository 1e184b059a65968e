"""Telling people that certificates end soon: once for each, and of all that are new in one mail."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace

from lambdas.certificates.settings import AcmeSettings
from lambdas.decisions.certificates import ends_soon
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.hooks import Notice, NotTold
from lambdas.repositories.tables import Tables

log = logging.getLogger(__name__)

_NAMED = 50  # in one mail: what the queue takes has its size


def tell_of_ending(tables: Tables, settings: AcmeSettings, now: float) -> None:
    """The operator, and by an event whoever has the name."""
    ending = [state for state in tables.certificates.all().values() if ends_soon(state, now)]
    new = [state for state in ending if state.warned != state.version]
    if not new:
        return
    trouble = tables.certificates.authority(settings.directory).error
    whys = {one.name: one.error or trouble or "it is about to be renewed" for one in new}
    new.sort(key=lambda one: one.not_after)
    told = [{"name": one.name, "not_after": int(one.not_after), "why": whys[one.name]} for one in new[:_NAMED]]
    data = {"certificates": told, "more": len(new) - len(told)}
    name = hashlib.sha256(" ".join(sorted(one.version for one in new)).encode()).hexdigest()[:24]
    notice = Notice("", "", "certificates.ending", f"msg_{name}", int(now), data, settings.mail)
    try:
        if settings.mail and tables.hooks.available:
            tables.hooks.tell([notice])
    except NotTold as error:
        log.error("nobody can be told that certificates end: %s", error)
        return  # the next run tries again
    for state in new:
        text = f"the certificate of {state.name} ends soon: {whys[state.name]}"
        tables.events.add(state.tenant, StoredEvent("certificate", now, text, state.name))
        tables.certificates.save(replace(state, warned=state.version))
