"""All repositories, made once in each process."""

from __future__ import annotations

from dataclasses import dataclass

from lambdas.repositories.abuse import Abuse
from lambdas.repositories.accounts import Accounts
from lambdas.repositories.assignments import Assignments
from lambdas.repositories.bindings import Bindings
from lambdas.repositories.calls import Calls
from lambdas.repositories.certificates import CertificateTable
from lambdas.repositories.counts import Counts
from lambdas.repositories.directory import Directory
from lambdas.repositories.events import Events
from lambdas.repositories.hooks import Hooks
from lambdas.repositories.idempotency import Idempotency
from lambdas.repositories.leases import Leases, lease_client
from lambdas.repositories.members import Members
from lambdas.repositories.plans import Plans
from lambdas.repositories.probes import Probes
from lambdas.repositories.providers import Providers
from lambdas.repositories.rations import Rations
from lambdas.repositories.renewal_turns import RenewalTurns
from lambdas.repositories.slow_turns import SlowTurns
from lambdas.repositories.store import Store
from lambdas.repositories.summaries import Summaries
from lambdas.repositories.usage import UsageTable
from lambdas.repositories.vault import Vault


@dataclass(frozen=True, slots=True)
class Tables:
    """One repository for each kind of thing."""

    abuse: Abuse
    accounts: Accounts
    assignments: Assignments
    bindings: Bindings
    calls: Calls
    certificates: CertificateTable
    counts: Counts
    directory: Directory
    events: Events
    hooks: Hooks
    idempotency: Idempotency
    leases: Leases
    members: Members
    plans: Plans
    probes: Probes
    providers: Providers
    rations: Rations
    renewal_turns: RenewalTurns
    slow_turns: SlowTurns
    store: Store
    summaries: Summaries
    usage: UsageTable

    @classmethod
    def open(cls) -> Tables:
        directory, vault, usage, leases = Directory(), Vault(), UsageTable(), lease_client()
        counts = Counts(directory)
        return cls(
            abuse=Abuse(),
            accounts=Accounts(directory),
            assignments=Assignments(leases),
            bindings=Bindings(),
            calls=Calls(usage),
            certificates=CertificateTable(directory, vault),
            counts=counts,
            directory=directory,
            events=Events(),
            hooks=Hooks(directory, vault, counts),
            idempotency=Idempotency(directory),
            leases=Leases(leases),
            members=Members(directory),
            plans=Plans(directory, counts),
            probes=Probes(),
            providers=Providers(directory, vault),
            rations=Rations(directory),
            renewal_turns=RenewalTurns(leases),
            slow_turns=SlowTurns(),
            store=Store(directory, counts),
            summaries=Summaries(directory),
            usage=usage,
        )
