"""The tables of ``template.yaml`` on any DynamoDB-compatible endpoint: one definition for AWS and for development."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from botocore.exceptions import ClientError

TEMPLATE = Path(__file__).parent.parent / "template.yaml"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (``!Sub x`` as ``{"Sub": "x"}``)."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        parts = loader.construct_sequence(node, deep=True)
        return {suffix: _filled(*parts) if suffix == "Sub" else parts}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


def _filled(text: str, names: dict[str, Any]) -> str | list[Any]:
    """What ``!Sub [text, names]`` stands for; names that aren't themselves a text are left as they are."""
    for name, value in names.items():
        if not isinstance(value.get("Sub"), str):
            return [text, names]
        text = text.replace(f"${{{name}}}", value["Sub"])
    return text


_Loader.add_multi_constructor("!", _short_form)


def load_template(path: Path = TEMPLATE) -> dict[str, Any]:
    """A template with its short forms unresolved, but for names within a ``!Sub``."""
    template: dict[str, Any] = yaml.load(path.read_text(), _Loader)  # noqa: S506 - a SafeLoader with tags
    return template


def table_definitions(prefix: str) -> list[dict[str, Any]]:
    """``CreateTable`` arguments of every table, with the name of its time-to-live attribute under ``TTL``,
    and whether it has point-in-time recovery under ``PITR``."""
    found = []
    for resource in load_template()["Resources"].values():
        if resource["Type"] != "AWS::DynamoDB::GlobalTable":
            continue
        properties = resource["Properties"]
        definition = {
            key: properties[key]
            for key in ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
            if key in properties
        }
        definition["TableName"] = properties["TableName"]["Sub"].replace("${TablePrefix}", prefix)
        definition["TTL"] = properties.get("TimeToLiveSpecification", {}).get("AttributeName")
        definition["PITR"] = "PointInTimeRecoverySpecification" in properties["Replicas"][0]
        found.append(definition)
    return found


def create_tables(client: Any, prefix: str) -> list[str]:
    """Make the tables that don't exist yet; the names of those made."""
    made = []
    for definition in table_definitions(prefix):
        ttl = definition.pop("TTL")
        recoverable = definition.pop("PITR")
        name = definition["TableName"]
        try:
            client.create_table(**definition)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceInUseException":
                continue
            raise
        client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
        if ttl:
            client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": ttl})
        if recoverable:
            recovery = {"PointInTimeRecoveryEnabled": True}
            client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
        made.append(name)
    return made
