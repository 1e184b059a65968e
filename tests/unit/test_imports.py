"""Who may import whom, and why; what else keeps the house as it is drawn in docs/design.md.

Imports under TYPE_CHECKING count: a circle that only the type checker sees is a circle in the reader's head.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

STACK = {
    "edge.sip",
    "edge.media.orders",
    "edge.media.judging",
    "edge.proxy.location",
    "edge.proxy.stack",
    "lambdas.contract",
}
# (package, what of ours it may import, why)
RULES = [
    ("edge/sip", {"edge.sip"}, "SIP is standard library only, so that it can be compiled and used anywhere"),
    ("edge/media", {"edge.sip", "edge.media"}, "what is relayed is told to an engine: no proxy is needed for that"),
    (
        "edge/providers",
        {"edge.sip", "edge.providers", "lambdas.contract"},
        "provider legs are a leaf that the proxy uses",
    ),
    (
        "edge/proxy/location",
        {"edge.sip", "edge.proxy.location", "lambdas.contract"},
        "a leaf: where phones are, and no messages",
    ),
    (
        "edge/proxy/stack",
        STACK | {"edge.providers.host"},
        "the ground knows no part of the proxy",
    ),
    ("edge/proxy/registrar", STACK | {"edge.proxy.registrar"}, "a REGISTER never needs a response context"),
    (
        "edge/proxy/forwarding",
        STACK | {"edge.proxy.forwarding", "edge.providers", "edge.media"},
        "a forked request needs no router: whom to try it is told",
    ),
    (
        "edge/proxy/routing",
        STACK | {"edge.proxy.routing", "edge.proxy.forwarding", "edge.proxy.subscriptions", "edge.providers.agent"},
        "who is called is the only question above forwarding; who has subscribed is told otherwise",
    ),
    (
        "edge/proxy/subscriptions",
        STACK | {"edge.proxy.subscriptions", "edge.proxy.forwarding.own_requests"},
        "the edge is the notifier itself: nothing of it is forwarded",
    ),
    (
        "edge/proxy/echo",
        STACK | {"edge.proxy.echo", "edge.proxy.forwarding"},
        "the edge is the user agent itself: it answers, and is called as phones are",
    ),
    (
        "edge/proxy/transfers",
        STACK | {"edge.proxy.transfers", "edge.proxy.routing", "edge.proxy.forwarding", "edge.providers"},
        "a transfer calls as others do, and is forwarded as others are",
    ),
    (
        "edge/proxy",
        {"edge.sip", "edge.media", "edge.providers", "edge.proxy", "lambdas.contract"},
        "the core does no I/O",
    ),
    ("edge/probes", {"edge.sip", "edge.providers", "edge.probes", "lambdas.contract"}, "a phone, which does no I/O"),
    (
        "edge/transport",
        {"edge.sip", "edge.transport", "lambdas.contract.addresses"},
        "sockets know flows and messages, not who decides",
    ),
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
    (
        "lambdas/lookups",
        {"lambdas.contract.addresses", "lambdas.lookups"},
        "a leaf: what is looked up outside knows nothing of calls",
    ),
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
        "lambdas/push",
        {"lambdas.contract", "lambdas.decisions", "lambdas.repositories", "lambdas.lookups", "lambdas.push"},
        "sending pushes needs no route, and no call policy",
    ),
    (
        "lambdas/certificates",
        {"lambdas.decisions", "lambdas.repositories", "lambdas.lookups", "lambdas.certificates"},
        "who gets certificates knows who has which name, and the authority; no route, and no edge",
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
        {
            "lambdas.api",
            "lambdas.certificates",
            "lambdas.services",
            "lambdas.hooks",
            "lambdas.push",
            "lambdas.repositories",
            "lambdas.lookups",
        },
        "handlers are a few lines, and nobody imports them",
    ),
]
# (module, who may import it, why)
ROOFS = [
    ("edge.proxy.core", {"edge/runtime", "edge/__main__.py"}, "the roof of the proxy is imported by nobody in it"),
    ("edge.runtime", {"edge/runtime", "edge/__main__.py"}, "only the loop ties transport, mesh, control and core"),
    (
        "lambdas.certificates",
        {"lambdas/certificates", "lambdas/handlers/certificates.py", "lambdas/__main__.py"},
        "what speaks to authorities takes long to import",
    ),
]
LOOSE = {
    "edge": {"__init__.py", "__main__.py", "compiled_core.py", "config.py"},
    "edge/proxy": {"__init__.py", "core.py"},
}
STANDARD_LIBRARY_ONLY = {
    "edge/sip": set(),
    "lambdas/contract": {"pydantic"},
    "lambdas/decisions": {"phonenumbers", "pydantic"},
    "lambdas/calls": {"pydantic"},
    "lambdas/sandbox": {"starlark"},
}
NO_IO = {"asyncio", "socket", "ssl", "time", "random", "secrets", "os", "threading", "select", "subprocess", "datetime"}
SANS_IO = ("edge/sip", "edge/media", "edge/providers", "edge/proxy", "edge/probes", "lambdas/decisions")
COMPILED = ("edge/sip", "edge/proxy", "edge/media")


def imports(path: Path) -> set[str]:
    """The modules that a file imports, those for type checking included, with the names taken from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def within(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


@pytest.mark.parametrize(("package", "allowed", "why"), RULES, ids=[rule[0] for rule in RULES])
def test_package_imports_only_what_it_may(package, allowed, why):
    assert files(package)
    for path in files(package):
        for name in imports(path):
            if name.startswith(("edge.", "lambdas.", "scripts", "tests")):
                assert within(name, allowed), f"{path.relative_to(ROOT)} imports {name}: {why}"


@pytest.mark.parametrize(("module", "allowed", "why"), ROOFS, ids=[roof[0] for roof in ROOFS])
def test_roofs_are_imported_by_whom_they_may_only(module, allowed, why):
    for path in files(module.partition(".")[0]):
        where = path.relative_to(ROOT).as_posix()
        if any(where == place or where.startswith(place + "/") for place in allowed):
            continue
        assert not any(within(name, {module}) for name in imports(path)), f"{where} imports {module}: {why}"


def modules() -> dict[str, set[str]]:
    """Our modules, and those of ours that each imports."""
    named = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
        for package in ("edge", "lambdas")
        for path in files(package)
    }
    graph = {}
    for module, path in named.items():
        wanted = imports(path)
        graph[module] = {target for name in wanted for target in (name, name.rpartition(".")[0]) if target in named} - {
            module
        }
        # A package imports what it re-exports; that its own modules are in it is no arrow.
        graph[module] = {target for target in graph[module] if not module.startswith(target + ".")}
    return graph


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for target in graph[todo.pop()] - seen:
                seen.add(target)
                todo.append(target)
        return seen

    far = {module: reached(module) for module in graph}
    return [{other for other in far[module] if module in far[other]} for module in graph if module in far[module]]


def test_no_module_imports_itself_in_a_circle():
    assert circles({"a": {"b"}, "b": {"a"}, "c": set()}) == [{"a", "b"}, {"a", "b"}]
    assert circles(modules()) == []


def test_no_room_of_the_proxy_is_in_a_circle():
    """core -> transfers -> routing -> subscriptions -> forwarding -> stack -> location, core -> registrar -> stack."""

    def room(module: str) -> str:
        parts = module.split(".")
        return parts[2] if module.startswith("edge.proxy.") else ""

    graph: dict[str, set[str]] = {}
    for module, targets in modules().items():
        if room(module):
            graph.setdefault(room(module), set()).update(room(target) for target in targets if room(target))
    graph = {name: targets - {name} for name, targets in graph.items()}
    assert set(graph) == {
        "core",
        "echo",
        "transfers",
        "routing",
        "subscriptions",
        "forwarding",
        "registrar",
        "stack",
        "location",
    }
    assert circles(graph) == []


@pytest.mark.parametrize("folder", LOOSE)
def test_no_file_lies_outside_a_room(folder):
    assert {path.name for path in (ROOT / folder).glob("*.py")} == LOOSE[folder]


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


def classes() -> dict[str, list[tuple[str, ast.ClassDef]]]:
    """All our classes by name, each with the file it stands in."""
    found: dict[str, list[tuple[str, ast.ClassDef]]] = {}
    for package in ("edge", "lambdas", "scripts"):
        for path in files(package):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append((path.relative_to(ROOT).as_posix(), node))
    return found


def test_no_class_is_made_of_several_files():
    """No mixins to keep a file short: one base of another file is enough, and a plain class declares no attribute that
    it leaves for others to set."""
    known = classes()

    def plain(node: ast.ClassDef) -> bool:
        bases = [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
        return not node.decorator_list and all(
            base in known and plain(known[base][0][1]) for base in bases if base != "Exception"
        )

    for name, places in known.items():
        for where, node in places:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            ours = [base for base in bases if base in known and where not in {place for place, _ in known[base]}]
            assert len(ours) <= 1, f"{where}: {name} is put together from {ours}"
            if plain(node):
                left = [
                    item.target.id
                    for item in node.body
                    if isinstance(item, ast.AnnAssign)
                    and isinstance(item.target, ast.Name)
                    and item.value is None
                    and not ast.unparse(item.annotation).startswith("ClassVar")
                ]
                assert not left, f"{where}: {name} declares {left}, and doesn't set them"


def test_a_name_stands_for_one_class():
    shared = {
        name: sorted(where for where, _ in places)
        for name, places in classes().items()
        if len({where for where, _ in places}) > 1 and name != "Meta"  # what PynamoDB calls a table's
    }
    assert shared == {}


def test_nothing_that_is_compiled_holds_a_model():
    """mypyc makes classes of its own kind; pydantic's need the ordinary one."""
    for package in COMPILED:
        for path in files(package):
            assert not any(within(name, {"pydantic"}) for name in imports(path)), path
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                    assert not bases & {"BaseModel", "Wire"}, f"{path}: {node.name}"


def test_functions_branch_at_most_fifteen_ways():
    """Rather than a length: ruff's C901 is on."""
    command = [sys.executable, "-m", "ruff", "check", "--select", "C901", "edge", "lambdas", "scripts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    command += ["--config", "lint.mccabe.max-complexity=2"]
    assert "C901" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout


def test_function_requirements_are_the_projects():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {line for line in extras["lambdas"] if not line.startswith("uvicorn")}
    texts = [(ROOT / f"lambdas/{name}.txt").read_text() for name in ("requirements", "requirements-push")]
    have = {line for text in texts for line in text.splitlines() if line and not line.startswith("#")}
    assert have == wanted


def test_constants_of_compiled_classes_are_class_variables():
    """Compiled, any other is an attribute of each object, and whoever reads it from the class gets a descriptor."""
    for package in COMPILED:
        for path in files(package):
            for found in ast.walk(ast.parse(path.read_text())):
                if isinstance(found, ast.ClassDef) and not any("Enum" in ast.unparse(base) for base in found.bases):
                    names = [ast.unparse(one.targets[0]) for one in found.body if isinstance(one, ast.Assign)]
                    assert [name for name in names if name.isupper()] == [], f"{path.relative_to(ROOT)}: {found.name}"


def test_functions_within_functions_name_neither_themselves_nor_each_other():
    """Those that do are in a circle: a recursive one with its own closure, compiled ones with what holds them both."""
    for package in COMPILED:
        for path in files(package):
            for outer in ast.walk(ast.parse(path.read_text())):
                if not isinstance(outer, ast.FunctionDef):
                    continue
                within = [one for one in outer.body if isinstance(one, ast.FunctionDef)]
                names = {one.name for one in within}
                for one in within:
                    own = {found.arg for found in ast.walk(one) if isinstance(found, ast.arg)}
                    used = {found.id for found in ast.walk(one) if isinstance(found, ast.Name)} - own
                    assert used & names == set(), f"{path.relative_to(ROOT)}: {outer.name}"
