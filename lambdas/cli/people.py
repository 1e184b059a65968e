"""Signing up, logging in, and the members of a tenant."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lambdas.cli.client import path_of
from lambdas.cli.state import state

members = typer.Typer(no_args_is_help=True, help="The people of a tenant.")

_Token = Annotated[str | None, typer.Option(help="Out of the mail; without it one is sent, and asked for here.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(members, name="member")
    app.command("signup")(sign_up)
    app.command("login")(log_in)


def sign_up(
    email: str,
    username: Annotated[str, typer.Option(prompt="The user name you would like")],
    token: _Token = None,
) -> None:
    """Get a SIP account of your own, where that is offered. Needs no key, but SIPWIZARD_API."""
    if token is None:
        state.client.call("POST", "/v1/signup", {"email": email})
        token = _token(email)
    made = state.client.call("POST", "/v1/signup/confirm", {"token": token, "username": username})
    state.output.one({"tenant": made["tenant"], "key": made["key"], **made["account"]})


def log_in(
    email: Annotated[str | None, typer.Argument(help="Yours; not needed with --token.")] = None,
    token: _Token = None,
) -> None:
    """Get another API key as a member of the tenant (--tenant)."""
    if token is None:
        if email is None or state.client.tenant is None:
            raise typer.BadParameter("say who you are: --tenant ID login EMAIL, or login --token TOKEN")
        state.client.call("POST", "/v1/login", {"email": email, "tenant": state.client.tenant})
        token = _token(email)
    state.output.one(state.client.call("POST", "/v1/login/confirm", {"token": token}))


def _token(email: str) -> str:
    return str(typer.prompt(f"The token in the mail to {email}"))


@members.command("list")
def list_members() -> None:
    """Everybody, and what they may do."""
    state.output.table(state.owned("/v1/members"), ("email", "role"))


@members.command("add")
def add_member(email: str, role: Annotated[str, typer.Option(help="owner, admin or read-only.")] = "admin") -> None:
    """Add somebody; they get a mail."""
    body: dict[str, Any] = {"email": email, "role": role}
    if state.client.tenant is not None:
        body["tenant"] = state.client.tenant
    state.output.one(state.client.call("POST", "/v1/members", body))


@members.command("role")
def set_role(email: str, role: str) -> None:
    """Let somebody do more, or less."""
    where = path_of("members", email)
    state.output.one(state.client.call("PATCH", where, {"role": role}, tenant=state.client.tenant))


@members.command("remove")
def remove_member(email: str) -> None:
    """Remove somebody, and their keys."""
    state.client.call("DELETE", path_of("members", email), tenant=state.client.tenant)
    state.output.done(f"{email} is out.")
