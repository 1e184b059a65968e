"""The core compiled. ``scripts/wheels`` makes wheels of ``edge/sip``, ``edge/media`` and ``edge/proxy``, each for one
Python and one processor; ``scripts/enrol`` installs the one that fits. What is installed runs only if it was made from
these very sources: an edge that was upgraded without it runs the sources, and says so."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from hashlib import blake2s
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("sip", "media", "proxy")
"""What is compiled: what the core consists of, without I/O."""
DISTRIBUTION = "sipwizard_core"
"""The wheel's name, and that of the folder in it which stands for ``edge``."""
_EDGE = Path(__file__).parent
_SOURCES = (_EDGE, _EDGE.parent / "lambdas" / "contract")  # compiled code knows the types of what it imports


def version() -> str:
    """That of a wheel made from the sources that are here (PEP 440)."""
    digest = blake2s(digest_size=8)
    for folder in _SOURCES:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder).as_posix()}\n".encode() + path.read_bytes() + b"\0")
    return f"0.1.0+{digest.hexdigest()}"


def find() -> tuple[list[str], str]:
    """Where the compiled packages are, and why there are none; one of both is empty."""
    if importlib.util.find_spec(DISTRIBUTION) is None:
        return [], "none is installed"
    core = importlib.import_module(DISTRIBUTION)
    if version() != core.VERSION:
        return [], f"the one that is installed ({core.VERSION}) was made from other sources"
    try:
        _load_library(list(core.__path__))
    except ImportError as error:
        return [], f"it can't be loaded: {error}"
    return [str(Path(folder) / "edge") for folder in core.__path__], ""


def _load_library(folders: list[str]) -> None:
    """What all compiled modules import. It stands beside ``edge``: they have their ``__path__`` from its place. Raises
    ImportError."""
    name = f"{DISTRIBUTION}__mypyc"
    spec = PathFinder.find_spec(name, folders)
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no {name}")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


PATH, FAULT = find()
"""As ``find`` says, of this process."""
