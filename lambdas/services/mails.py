"""How many mails may be asked for, and by whom: nobody is flooded, and nobody is kept from logging in by strangers."""

from __future__ import annotations

from lambdas.services.services import Services

_FROM_ONE = 20  # an hour, for one source or tenant
_TO_ONE = 5  # an hour, to one mailbox
_DOTLESS = ("gmail.com", "googlemail.com")


def mailbox(address: str) -> str:
    """The one that ``address`` leads to: many spellings do to the same."""
    local, _, domain = address.casefold().rpartition("@")
    local = local.partition("+")[0]
    if domain in _DOTLESS:
        return f"{local.replace('.', '')}@{_DOTLESS[0]}"
    return f"{local}@{domain}"


def may_write(whose: str, address: str, services: Services) -> bool:
    """Whether ``whose`` (a source, or a tenant) may have a mail sent to somebody whom we don't know. Who has asked for
    too many uses up nobody else's."""
    now, take = services.clock(), services.tables.rations.take
    return take(f"from {whose}", _FROM_ONE, now) and take(f"to {mailbox(address)}", _TO_ONE, now)


def may_send_login(source: str, address: str, tenant: str, services: Services) -> bool:
    """Whether ``source`` may have a login sent to a member. Only members are sent any, to the very address, so
    strangers can't use these up without filling the member's mailbox with logins that are good; and what a source asks
    for where the member has logged in before isn't counted with theirs."""
    now, rations = services.clock(), services.tables.rations
    if not rations.take(f"from {source}", _FROM_ONE, now):
        return False
    own = f" from {source}" if rations.acquainted(address, source, now) else ""
    return rations.take(f"login {tenant} {address}{own}", _TO_ONE, now)
