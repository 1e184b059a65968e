"""Make a function's package: ``package.py FUNCTION RUNTIME ARCHITECTURE DIRECTORY``, run by the runtime's own Python.

A function that isn't warm reads and compiles what it imports before it answers, while a phone waits. So the package has
no models of services that aren't called, no geography of telephone numbers, no symbols for debuggers, and the bytecode
of exactly this Python, which nobody compares with its source any more.
"""

from __future__ import annotations

import compileall
import json
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
_PLATFORMS = {"x86_64": "x86_64", "arm64": "aarch64"}
_GLIBC = (26, 17) if sys.version_info < (3, 12) else (34, 28, 17)  # of Amazon Linux 2 and 2023, and before
_SERVICES = {"dynamodb", "ec2", "kms", "route53", "s3", "sesv2", "sqs", "sts"}
_ENDPOINTS = (_SERVICES - {"sesv2"}) | {"email"}  # as endpoints.json calls them
_GEOGRAPHY = ("geodata", "carrierdata", "tzdata")
# What no function imports, and what one doesn't; it would only be carried about.
_USELESS = ("*.dist-info", "*.pxd", "*.pyi", "*.pyx", "bin", "botocore/data/*/*/examples-*", "cffi", "pycparser")
# What speaks to certificate authorities; httpx needs certifi too.
_ACME = ("OpenSSL", "acme", "charset_normalizer", "josepy", "pyrfc3339", "requests", "botocore/data/route53")
UNUSED = {
    "CertificatesFunction": (
        *("aiohttp", "boto3", "fastapi", "mangum", "phonenumbers", "pygal", "starlark", "starlette", "yaml"),
        *("s3transfer", "botocore/data/ec2", "botocore/data/s3", "botocore/data/sesv2"),
    ),
    "DecisionsFunction": (
        *_ACME,
        *("boto3", "certifi", "fastapi", "importlib_metadata", "opentelemetry", "pydantic/v1", "pygal"),
        *("s3transfer", "yaml", "zipp", "botocore/data/s3", "botocore/data/sesv2"),
        *("lambdas/api/provisioning", "lambdas/certificates", "lambdas/push"),
    ),
    "HooksFunction": (*_ACME, "certifi", "fastapi", "mangum", "phonenumbers", "pygal", "starlark", "starlette", "yaml"),
    "ProvisioningFunction": (*_ACME, "certifi"),
    "PushFunction": (
        *_ACME,
        *("boto3", "fastapi", "importlib_metadata", "mangum", "opentelemetry", "phonenumbers", "pygal", "s3transfer"),
        *("starlark", "starlette", "yaml", "zipp", "botocore/data/s3", "botocore/data/sesv2"),
    ),
    "StatusFunction": (
        *_ACME,
        *("aiohttp", "certifi", "fastapi", "mangum", "phonenumbers", "starlark", "starlette", "yaml"),
    ),
}
_SOURCES = ("anyio", "lambdas")  # are kept: anyio reads its own, and imports less by it
_MORE = {"PushFunction": ["requirements-push.lock"]}  # what no other function carries about
_OURS = shutil.ignore_patterns("__pycache__", "cli", "packaging", "Makefile", "requirements*")


def main() -> None:
    function, runtime, architecture, directory = sys.argv[1:]
    if runtime != "python{}.{}".format(*sys.version_info):
        sys.exit(f"{runtime} has to be installed here: its bytecode is made by itself.")
    target = Path(directory)
    install(architecture, target, ["requirements.lock", *_MORE.get(function, [])])
    trim(target)
    shutil.copytree(HERE, target / "lambdas", ignore=_OURS, dirs_exist_ok=True)
    for name in UNUSED.get(function, ()):
        shutil.rmtree(target / name)
    compile_all(target)


def install(architecture: str, target: Path, locks: list[str]) -> None:
    """What ``locks`` name, for the processor that it is to run on, whatever this machine is."""
    machine = _PLATFORMS[architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC] + [f"manylinux2014_{machine}"]
    subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
            *("--target", str(target)),
            *(part for lock in locks for part in ("--requirement", str(HERE / lock))),
            *("--implementation", "cp", "--python-version", "{}.{}".format(*sys.version_info)),
            *("--require-hashes", "--only-binary", ":all:", "--no-deps"),
            *(part for platform in platforms for part in ("--platform", platform)),
        ],
        check=True,
    )  # fmt: skip


def trim(target: Path) -> None:
    """Take out what nothing here uses."""
    data = target / "botocore/data"
    for service in data.iterdir():
        if service.is_dir() and service.name not in _SERVICES:
            shutil.rmtree(service)
        elif service.is_dir():
            for old in sorted(version for version in service.iterdir() if version.is_dir())[:-1]:
                shutil.rmtree(old)
    _trim_endpoints(data / "endpoints.json")
    for name in _GEOGRAPHY:
        shutil.rmtree(target / "phonenumbers" / name, ignore_errors=True)
    for useless in [path for pattern in _USELESS for path in target.rglob(pattern)]:
        if useless.is_dir():
            shutil.rmtree(useless)
        else:
            useless.unlink(missing_ok=True)
    _strip(target)


def _strip(target: Path) -> None:
    """Take the symbols out of libraries. LLVM's knows every processor; where this machine's doesn't, they stay."""
    strip = shutil.which("llvm-strip") or shutil.which("strip")
    for library in target.rglob("*.so*") if strip is not None else ():
        subprocess.run([str(strip), "--strip-unneeded", str(library)], check=False, capture_output=True)  # noqa: S603


def _trim_endpoints(path: Path) -> None:
    """A megabyte, which every process would read and keep."""
    found = json.loads(path.read_text())
    for partition in found["partitions"]:
        services = partition["services"]
        partition["services"] = {name: services[name] for name in _ENDPOINTS if name in services}
    path.write_text(json.dumps(found, separators=(",", ":")))


def compile_all(target: Path) -> None:
    """Bytecode that nobody compares with its source; instead of the source of other people's packages, since it is
    half as much to carry, and tracebacks still say in which line."""
    sys.pycache_prefix = None  # it goes into the package, wherever this machine keeps its own
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for name in _SOURCES:
        compileall.compile_dir(target / name, quiet=1, invalidation_mode=unchecked)
    for source in target.rglob("*.py"):
        if source.relative_to(target).parts[0] not in _SOURCES:
            compileall.compile_file(source, quiet=1, legacy=True)
            source.unlink()


if __name__ == "__main__":
    main()
