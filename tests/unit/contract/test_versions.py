"""Both sides may be of any version: what each version wrote is understood today, and what is written today is what it
would have written, and more. ``vN.json`` was written by version N itself (see ``bodies``), so it shows what is true of
the versions that the contract's fields say they came with."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lambdas import contract
from tests.unit.contract.bodies import bodies, models_in

RECORDED = {int(path.stem[1:]): json.loads(path.read_text()) for path in sorted(Path(__file__).parent.glob("v*.json"))}
ALL = [(version, name) for version, found in RECORDED.items() for name in found]
GONE = {("Route", "otherwise")}
"""Fields of before there was anything to be compatible with; what they said was said otherwise from version 4 on."""


def since(model: type[BaseModel], field: str) -> int:
    """The version that a field came with, as the text under it says, or that of its model: ``Since version 2.`` there is
    about all of the model, ``Since version 2: this, that.`` about fields that it has from elsewhere."""
    text = _said(inspect.getdoc(model), field)
    for kind in model.__mro__:
        if field in inspect.get_annotations(kind):
            return max(text, _said(_texts(kind)[field], field))
    raise AssertionError(field)


def _said(text: str | None, field: str) -> int:
    found = [1]
    for version, fields in re.findall(r"Since\s+version\s+(\d+)(?::\s+([^.]*))?\.", text or ""):
        if not fields or f"``{field}``" in fields:
            found.append(int(version))
    return max(found)


@functools.cache
def _texts(model: type[BaseModel]) -> dict[str, str]:
    """The text under each field of a model's own; "" if there is none."""
    body = ast.parse(inspect.getsource(model)).body[0].body  # type: ignore[attr-defined]
    found = {}
    for statement, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            found[statement.target.id] = inspect.cleandoc(after.value.value) if is_text else ""
    return found


def every_model() -> list[type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    waiting = [model for model in vars(contract).values() if inspect.isclass(model) and issubclass(model, BaseModel)]
    while waiting:
        model = waiting.pop()
        if model.__name__ not in found:
            found[model.__name__] = model
            for field in model.model_fields.values():
                waiting += models_in(field.annotation)
    return list(found.values())


def kind_of(annotation: Any, value: Any) -> type[BaseModel] | None:
    """The model that ``value`` is of, among those of a field's type."""
    choices = list(models_in(annotation))
    for choice in choices:
        kind = choice.model_fields.get("kind")
        if kind is None or kind.default == value.get("kind"):
            return choice
    assert not choices, f"{value} is none of {choices}"
    return None


def parts(model: type[BaseModel], body: dict[str, Any]) -> Iterator[tuple[type[BaseModel], dict[str, Any]]]:
    """The models that a body is made of."""
    yield model, body
    for name, field in model.model_fields.items():
        value = body.get(name)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and (inner := kind_of(field.annotation, one)) is not None:
                yield from parts(inner, one)


def without_newer(model: type[BaseModel], body: dict[str, Any], version: int) -> dict[str, Any]:
    """A body as it is without the fields that came after ``version``."""

    def older(annotation: Any, value: Any) -> Any:
        if isinstance(value, list):
            return [older(annotation, one) for one in value]
        inner = kind_of(annotation, value) if isinstance(value, dict) else None
        return without_newer(inner, value, version) if inner is not None else value

    return {
        name: older(field.annotation, body[name])
        for name, field in model.model_fields.items()
        if since(model, name) <= version
    }


def root(name: str) -> type[BaseModel]:
    return getattr(contract, name.split()[0])


def known(model: type[BaseModel], body: dict[str, Any]) -> dict[str, Any]:
    """A body as it is without what is gone."""
    body = json.loads(json.dumps(body))
    for kind, part in list(parts(model, body)):
        for name in [name for name in part if (kind.__name__, name) in GONE]:
            del part[name]
    return body


@pytest.mark.parametrize(("version", "name"), ALL)
def test_what_a_version_wrote_is_read_whole(version, name):
    body = RECORDED[version][name]
    assert body["version"] == version
    read = root(name).model_validate(body)
    again = json.loads(read.model_dump_json(exclude_unset=True))
    assert again == known(root(name), body)


@pytest.mark.parametrize(("version", "name"), ALL)
def test_what_is_written_today_is_that_and_more(version, name):
    """So a peer of that version, which ignores what it doesn't know, finds all that it wants."""
    written = {**bodies(contract)[name], "version": version}
    assert without_newer(root(name), written, version) == known(root(name), RECORDED[version][name])


def test_todays_version_is_recorded():
    """Extending the contract means another version, once a version is recorded."""
    assert bodies(contract) == RECORDED[contract.VERSION]


@pytest.mark.parametrize("model", every_model(), ids=lambda model: model.__name__)
def test_the_contract_explains_itself(model):
    """Each field but the kinds, which are their values; and what came later isn't needed to read what came before."""
    assert inspect.getdoc(model) != inspect.getdoc(BaseModel)
    whole = _said(inspect.getdoc(model), "")
    for name, field in model.model_fields.items():
        owner = next(kind for kind in model.__mro__ if name in inspect.get_annotations(kind))
        assert name == "kind" or _texts(owner)[name].endswith("."), (owner, name)
        came = since(model, name)
        assert came <= contract.VERSION
        assert came == max(1, whole) or not field.is_required(), (model, name)
