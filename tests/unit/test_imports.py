"""Who may import whom, and why."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# (package, what of ours it may import, why)
RULES = [
    ("edge/sip", {"edge.sip"}, "SIP is standard library only, so that it can be compiled and used anywhere"),
    (
        "edge/providers",
        {"edge.sip", "edge.providers", "lambdas.contract"},
        "provider legs are a leaf that the core uses",
    ),
    ("edge/proxy", {"edge.sip", "edge.providers", "edge.proxy", "lambdas.contract"}, "the core does no I/O"),
    ("edge/probes", {"edge.sip", "edge.providers", "edge.probes", "lambdas.contract"}, "a phone, which does no I/O"),
    ("edge/transport", {"edge.sip", "edge.transport"}, "sockets know flows and messages, not who decides"),
    ("edge/mesh", {"edge.sip", "edge.mesh"}, "the mesh carries bytes; only the runtime ties it to the core"),
    ("edge/control", {"edge.sip", "edge.control", "lambdas.contract"}, "the client speaks the contract, nothing else"),
    ("lambdas/contract", {"lambdas.contract"}, "a leaf: both sides depend on it, it on nothing"),
    ("lambdas/decisions", {"lambdas.contract", "lambdas.decisions"}, "decisions are pure functions"),
    (
        "lambdas/repositories",
        {"lambdas.contract", "lambdas.decisions", "lambdas.repositories"},
        "repositories turn items into the decisions' values",
    ),
    ("lambdas/sandbox", {"lambdas.sandbox"}, "where scripts run there is nothing of ours to be had"),
    ("lambdas/lookups", {"lambdas.lookups"}, "a leaf: what is looked up outside knows nothing of calls"),
    (
        "lambdas/calls",
        {"lambdas.contract", "lambdas.decisions", "lambdas.sandbox", "lambdas.lookups.errors", "lambdas.calls"},
        "call policy runs over facts, however they are had: it knows neither HTTP nor DynamoDB",
    ),
    (
        "lambdas/hooks",
        {"lambdas.contract", "lambdas.decisions", "lambdas.repositories", "lambdas.lookups", "lambdas.hooks"},
        "telling webhooks needs no route",
    ),
    (
        "lambdas/services",
        {
            "lambdas.contract",
            "lambdas.decisions",
            "lambdas.repositories",
            "lambdas.sandbox",
            "lambdas.lookups",
            "lambdas.calls",
            "lambdas.hooks",
            "lambdas.services",
        },
        "what routes work with knows no route",
    ),
    (
        "lambdas/api",
        {
            "lambdas.contract",
            "lambdas.decisions",
            "lambdas.repositories",
            "lambdas.sandbox",
            "lambdas.lookups",
            "lambdas.calls",
            "lambdas.hooks",
            "lambdas.services",
            "lambdas.api",
        },
        "routes know everything below them",
    ),
    (
        "lambdas/handlers",
        {"lambdas.api", "lambdas.services", "lambdas.hooks", "lambdas.repositories", "lambdas.lookups"},
        "handlers are a few lines, and nobody imports them",
    ),
]
STANDARD_LIBRARY_ONLY = {
    "edge/sip": set(),
    "lambdas/contract": {"pydantic"},
    "lambdas/decisions": {"phonenumbers", "pydantic"},
    "lambdas/calls": {"pydantic"},
    "lambdas/sandbox": {"starlark"},
}
NO_IO = {"asyncio", "socket", "ssl", "time", "random", "secrets", "os", "threading", "select", "subprocess", "datetime"}
SANS_IO = ("edge/sip", "edge/providers", "edge/proxy", "edge/probes", "lambdas/decisions")


def imports(path: Path) -> set[str]:
    """The modules that a file imports, not counting those for type checking only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(("package", "allowed", "why"), RULES, ids=[rule[0] for rule in RULES])
def test_package_imports_only_what_it_may(package, allowed, why):
    for path in files(package):
        for name in imports(path):
            if name.startswith(("edge.", "lambdas.", "scripts", "tests")):
                ours = any(name == prefix or name.startswith(prefix + ".") for prefix in allowed)
                assert ours, f"{path.relative_to(ROOT)} imports {name}: {why}"


def test_lambdas_never_import_the_edge():
    for path in files("lambdas"):
        assert not any(name.startswith("edge") for name in imports(path)), path


@pytest.mark.parametrize(("package", "allowed"), STANDARD_LIBRARY_ONLY.items())
def test_leaf_packages_need_nothing_installed(package, allowed):
    for path in files(package):
        for name in imports(path):
            top = name.partition(".")[0]
            assert top in sys.stdlib_module_names or top in ("edge", "lambdas") or top in allowed, f"{path}: {name}"


@pytest.mark.parametrize("package", SANS_IO)
def test_sans_io_packages_touch_no_clock_socket_or_randomness(package):
    for path in files(package):
        used = {name.partition(".")[0] for name in imports(path)}
        if package == "lambdas/decisions":
            # Calendars need it; the time is handed in all the same.
            used.discard("datetime")
            assert not {".now(", ".today(", ".utcnow("} & set(re.findall(r"\.\w+\(", path.read_text())), path
        assert not used & NO_IO, path


def test_files_have_one_subject():
    for package in ("edge", "lambdas"):
        for path in files(package):
            assert len(path.read_text().splitlines()) <= 400, f"{path}: past 400 lines a file has two subjects"


def test_function_requirements_are_the_projects():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {line for line in extras["lambdas"] if not line.startswith("uvicorn")}
    have = {
        line
        for line in (ROOT / "lambdas/requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert have == wanted
