"""Many accounts at once: read from CSV or JSON, all of them or none, and written out again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, ValidationError

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import Problem, responses, said
from lambdas.api.provisioning.accounts import Account, NewAccount, new_account_item, shown
from lambdas.api.provisioning.common import Paging, TenantQuery, chosen_tenant, new_password, room
from lambdas.api.security import Caller, CallerDep, ServicesDep
from lambdas.repositories.accounts import UNFINISHED, UnderWay
from lambdas.repositories.directory import Taken
from lambdas.repositories.models import AccountItem, DomainItem
from lambdas.services.services import Services

router = APIRouter(prefix="/accounts", tags=["accounts"], route_class=AuditedRoute)

MOST = 1000
"""Accounts in one import."""
_MOST_DOMAINS = 20
_MOST_EXPORTED = 10_000  # accounts in one answer: Lambda's may have 6 MB, and has its time
_NEXT = "Next-Cursor"
_COLUMNS = tuple(NewAccount.model_fields)
_EXPORTED = tuple(name for name in _COLUMNS if name != "password")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")  # what a spreadsheet would take for one, or for a quotation

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {
                    "type": "string",
                    "description": f"With a first line that names columns: {', '.join(_COLUMNS)}.",
                }
            },
            "application/json": {
                "schema": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MOST,
                    "items": NewAccount.model_json_schema(),
                }
            },
        },
    }
}


class Made(BaseModel):
    aor: str
    password: Annotated[str | None, Field(description="One that was made here, shown this once; null for one given.")]


class Imported(BaseModel):
    created: int
    accounts: list[Made]


@router.post(":import", status_code=201, responses=responses(400, 401, 404, 409, 413, 415, 422), openapi_extra=_BODY)
async def import_accounts(
    request: Request, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None
) -> Imported:
    """Make up to 1,000 accounts, all or none of them. With a mistake in any line nothing is done, and `errors` has them
    all, by line (of CSV; of JSON the number in the list, from 1)."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return await run_in_threadpool(_import, kind, body, chosen_tenant(tenant, who, services), services, who)


@router.get(
    ":export",
    responses={
        **responses(400, 401, 404, 422),
        200: {
            "headers": {_NEXT: {"schema": {"type": "string"}}},
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
            },
        },
    },
    response_class=Response,
)
def export_accounts(
    services: ServicesDep,
    who: CallerDep,
    tenant: TenantQuery = None,
    format: Annotated[Literal["csv", "json"], Query()] = "csv",
    limit: Annotated[int, Query(ge=1, le=_MOST_EXPORTED, description="Accounts in one answer.")] = _MOST_EXPORTED,
    cursor: Annotated[str | None, Query(max_length=2048, description="`Next-Cursor` of the answer before.")] = None,
) -> Response:
    """A tenant's accounts, by AOR, as they can be imported again: without passwords, which aren't known, and without
    limits and suspensions, which the list of accounts has. Where there are more, `Next-Cursor` says where to go on."""
    owner = chosen_tenant(tenant, who, services)
    page = services.tables.directory.page(f"accounts#{owner}", limit, Paging(1, cursor).after)
    accounts = [shown(item) for item in page.items]
    following = Paging.following(page)
    headers = {_NEXT: following} if following is not None else {}
    if format == "json":
        return Response(_json(accounts), headers=headers, media_type="application/json")
    return Response(_csv(accounts), headers=headers, media_type="text/csv; charset=utf-8")


def _import(kind: str, body: bytes, tenant: str, services: Services, who: Caller) -> Imported:
    rows = _rows(kind, body)
    if len(rows) > MOST:
        raise Problem(413, f"At most {MOST} accounts fit in one import; there are {len(rows)}. Import in parts.")
    faults: list[dict[str, str]] = []
    read: list[tuple[int, NewAccount]] = []
    for line, row in rows:
        try:
            read.append((line, NewAccount.model_validate(row)))
        except ValidationError as error:
            faults += [
                _fault(line, ".".join(str(part) for part in item["loc"]), said(str(item["msg"])))
                for item in error.errors()
            ]
    names = {one.domain for _, one in read}
    if len(names) > _MOST_DOMAINS:
        raise Problem(422, f"Accounts of at most {_MOST_DOMAINS} domains fit in one import; import in parts.")
    domains = {name: services.tables.directory.get(DomainItem, name) for name in names}
    plans = {name: services.tables.plans.item(f"{tenant}/{name}") for name in {one.plan for _, one in read if one.plan}}
    seen: dict[str, int] = {}
    taken = services.tables.directory.existing(AccountItem, [f"{one.username}@{one.domain}" for _, one in read])
    for line, one in read:
        aor = f"{one.username}@{one.domain}"
        domain = domains[one.domain]
        if domain is None or domain.tenant != tenant:
            faults.append(_fault(line, "domain", f"there is no domain {one.domain!r}"))
        elif aor in seen:
            faults.append(_fault(line, "username", f"{aor} stands in line {seen[aor]} already"))
        elif aor in taken:
            faults.append(_fault(line, "username", f"{aor} exists already"))
        if one.plan and plans[one.plan] is None:
            faults.append(_fault(line, "plan", f"there is no dial plan {one.plan!r}"))
        seen.setdefault(aor, line)
    if faults:
        faults.sort(key=lambda fault: int(fault["line"]))
        raise Problem(422, f"Nothing was imported: {len(faults)} mistakes. See `errors`.", errors=faults)
    if not read:
        raise Problem(422, "There is nothing to import.")
    with room(tenant, "accounts", services, who, len(read)):
        return _make([one for _, one in read], tenant, domains, services)


def _make(wanted: list[NewAccount], tenant: str, domains: dict[str, DomainItem | None], services: Services) -> Imported:
    items: list[AccountItem] = []
    made: list[Made] = []
    for one in wanted:
        password = one.password or new_password()
        item = new_account_item(one, tenant, password)
        items.append(item)
        made.append(Made(aor=item.aor, password=None if one.password else password))
    try:
        services.tables.accounts.create_all(
            tenant, items, [domain for domain in domains.values() if domain is not None]
        )
    except UnderWay as error:
        detail = f"Another import of this tenant is under way, or has died: try again in {UNFINISHED} s at the latest."
        raise Problem(409, detail) from error
    except Taken as error:
        detail = "Nothing was imported: somebody else has made one of the accounts, or deleted a domain, just now."
        raise Problem(409, detail) from error
    return Imported(created=len(made), accounts=made)


def _rows(kind: str, body: bytes) -> list[tuple[int, Any]]:
    """Each account's line, and what it says. Raises Problem."""
    if kind == "application/json":
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Problem(400, f"The body isn't JSON: {str(error)[:200]}.") from error
        if not isinstance(value, list):
            raise Problem(422, "A list of accounts is wanted.")
        return list(enumerate(value, 1))
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = list(reader.fieldnames or ())
        wrong = [name or "(nothing)" for name in names if name not in _COLUMNS or names.count(name) > 1]
        if wrong or not names:
            said_ = ", ".join(dict.fromkeys(wrong)) or "nothing"
            raise Problem(422, f"The first line has to name columns, each once: {', '.join(_COLUMNS)}; not {said_}.")
        rows: list[tuple[int, Any]] = []
        for row in reader:
            # What is left empty is left out; what is too much is said to be so.
            named = {name or "(a column without a name)": _value(name, value) for name, value in row.items() if value}
            rows.append((reader.line_num, named))
        return rows
    except (UnicodeError, csv.Error) as error:
        raise Problem(400, f"The body isn't CSV in UTF-8: {error}.") from error


def _fault(line: int, field: str, fault: str) -> dict[str, str]:
    return {"line": str(line), "field": field, "fault": fault}


def _json(accounts: Iterable[Account]) -> str:
    return "[\n" + ",\n".join(one.model_dump_json(include=set(_EXPORTED)) for one in accounts) + "\n]\n"


def _csv(accounts: Iterable[Account]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_EXPORTED)
    writer.writerows([_cell(name, getattr(account, name)) for name in _EXPORTED] for account in accounts)
    return buffer.getvalue()


def _cell(column: str, value: object) -> object:
    """A spreadsheet mustn't take a name for a formula. Numbers are none, and stay as they are."""
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and column != "caller_id" else value


def _value(column: str | None, cell: object) -> object:
    if column == "password":
        return cell  # none was exported, so nothing was added
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell
