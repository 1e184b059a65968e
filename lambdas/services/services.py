"""What the routes work with: an object for each subject, made once in each process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lambdas.decisions.register import Expiries
from lambdas.hooks.notices import Notices
from lambdas.lookups.lookups import Lookups
from lambdas.repositories.addresses import Addresses
from lambdas.repositories.tables import Tables
from lambdas.repositories.transactions import Turns
from lambdas.sandbox.client import Sandbox
from lambdas.services.certificates import CertificateReader
from lambdas.services.directory_cache import DirectoryCache
from lambdas.services.environment import Environment
from lambdas.services.fleet import FleetReader
from lambdas.services.keys import Keys
from lambdas.services.quotas import Quotas
from lambdas.services.spared import SparedNetworks


@dataclass(frozen=True, slots=True)
class Services:
    """``clock`` is Unix time in seconds; ``turns`` are taken by those who write an AOR's bindings."""

    clock: Callable[[], float]
    expiries: Expiries
    environment: Environment
    tables: Tables
    certificates: CertificateReader
    cache: DirectoryCache
    fleet: FleetReader
    spared: SparedNetworks
    keys: Keys
    quotas: Quotas
    notices: Notices
    addresses: Addresses
    lookups: Lookups
    sandbox: Sandbox
    turns: Turns

    @classmethod
    def make(cls) -> Services:
        """Over the tables that the environment names."""
        clock, environment, tables = time.time, Environment.read(), Tables.open()
        directory, leases = tables.directory, tables.leases
        fleet = FleetReader(directory, leases, tables.assignments, clock)
        return cls(
            clock=clock,
            expiries=Expiries(),
            environment=environment,
            tables=tables,
            certificates=CertificateReader(tables.certificates, environment.acme_directory, fleet.places),
            cache=DirectoryCache(directory, tables.providers, clock),
            fleet=fleet,
            spared=SparedNetworks(tables.providers),
            keys=Keys(lambda: directory.fleet_secret(leases.once), directory.keep_fleet_secret),
            quotas=Quotas.of(environment),
            notices=Notices(directory, tables.hooks),
            addresses=Addresses(),
            lookups=Lookups(),
            sandbox=Sandbox(),
            turns=Turns(),
        )
