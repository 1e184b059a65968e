"""Bodies as a contract writes them: one of each kind, every field filled. ``python tests/unit/contract/bodies.py TREE``
prints those of the contract in a checkout; ``vN.json`` has those of the last commit of version N."""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

ROOTS = (
    "QuestionEnvelope", "DecisionEnvelope", "Heartbeat", "HeartbeatReply", "ReportEnvelope", "ReportReceipt",
    "ProvidersRequest", "ProvidersReply", "CertificatesRequest", "CertificatesReply",
)  # fmt: skip
"""What is sent as a whole."""
LAST = {1: "35f8220", 2: "6fe7195", 3: "837aae0", 4: "390bc6f", 5: "45b0be2", 6: "881e754"}
"""The last commit of each version."""
_DEEPEST = 2  # models of one kind within each other


def bodies(contract: types.ModuleType) -> dict[str, Any]:
    """By the name of the root, and of the kind in it where there are several."""
    found = {}
    for root in ROOTS:
        model = getattr(contract, root, None)
        if model is None:
            continue  # of a later version
        for kind in _kinds(model):
            body = model(**_filled(model, kind, ())).model_dump(mode="json")
            found[f"{root} {kind}".strip()] = {**body, "version": contract.VERSION}
    return found


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field's type names."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def _kinds(root: type[BaseModel]) -> list[str]:
    """Of the models in it that are told apart by a kind; [""] if there are none."""
    found = [
        get_args(model.model_fields["kind"].annotation)[0]
        for field in root.model_fields.values()
        for model in models_in(field.annotation)
        if "kind" in model.model_fields
    ]
    return found or [""]


def _filled(model: type[BaseModel], kind: str, inside: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    return {
        name: _value(name, field.annotation, field.default, kind, (*inside, model))
        for name, field in model.model_fields.items()
    }


def _value(name: str, annotation: Any, default: Any, kind: str, inside: tuple[type[BaseModel], ...]) -> Any:
    """Something that isn't the default, and the same each time."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _value(name, arguments[0], default, kind, inside)
    if origin in (Union, types.UnionType):
        choices = [choice for choice in arguments if choice is not type(None)]
        wanted = [choice for choice in choices if kind and kind in _kinds_of(choice)]
        return _value(name, (wanted or choices)[0], default, kind, inside)
    if origin is Literal:
        return next((choice for choice in arguments if choice != default), arguments[0])
    if origin is list:
        too_deep = any(inside.count(model) >= _DEEPEST for model in models_in(annotation))
        return [] if too_deep else [_value(name, arguments[0], None, kind, inside)]
    if origin is dict:
        return {"203.0.113.11": _value(name, arguments[1], None, kind, inside)}
    if origin is tuple:
        return tuple(_value(name, argument, None, kind, inside) for argument in arguments)
    if annotation is bool:
        return default is not True
    if annotation in (int, float):
        return annotation(1.5) if annotation is float else 1 + len(name)
    if annotation is str:
        return name
    return _filled(annotation, kind, inside)


def _kinds_of(model: Any) -> tuple[str, ...]:
    field = getattr(model, "model_fields", {}).get("kind")
    return get_args(field.annotation) if field is not None else ()


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    import lambdas.contract

    lines = [f"{json.dumps(name)}: {json.dumps(body)}" for name, body in bodies(lambdas.contract).items()]
    print("{\n" + ",\n".join(lines) + "\n}")
