"""``scripts/sipwizard`` (or ``python -m lambdas.cli``): see ``--help``."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from lambdas.cli import accounts, calling, fleet, happenings, people, records, tenants
from lambdas.cli.client import ApiError
from lambdas.cli.shown import errors
from lambdas.cli.state import state

_HELP = """The daily jobs, by the provisioning API. It is found by SIPWIZARD_API and SIPWIZARD_KEY (and SIPWIZARD_TENANT
for an administration key), or by the development fleet that scripts/up runs in this folder."""
_PROGRAM = "sipwizard"
_JSON = "--json"

app = typer.Typer(help=_HELP, no_args_is_help=True)
for part in (tenants, accounts, calling, fleet, happenings, records, people):
    part.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
        print(f"{_PROGRAM} {project['project']['version']}")
        raise typer.Exit


@app.callback()
def settings(
    api: Annotated[str | None, typer.Option(help="The API's URL.")] = None,
    key: Annotated[str | None, typer.Option(help="An API key; better in SIPWIZARD_KEY than here.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose things; for an administration key.")] = None,
    as_json: Annotated[bool, typer.Option(_JSON, help="JSON instead of tables; may also stand last.")] = False,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version)] = False,
) -> None:
    """What all commands share."""
    state.take(api, key, tenant, as_json)


def main() -> None:
    words = sys.argv[1:]
    if words and words[-1] == _JSON:
        words = [_JSON, *words[:-1]]
    try:
        app(words, prog_name=_PROGRAM, standalone_mode=True)
    except (ApiError, records.RecordsError) as error:
        errors.print(f"{_PROGRAM}: {error}", soft_wrap=True)
        sys.exit(1)
    except OSError as error:  # the output's: the network's are ApiError
        errors.print(f"{_PROGRAM}: {error}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
