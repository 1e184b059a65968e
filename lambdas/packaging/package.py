"""Make a function's package: ``PYTHON package.py FUNCTION ARCHITECTURE DIRECTORY``, run by the runtime's own Python.

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
_SERVICES = {"dynamodb", "ec2", "kms", "s3", "sesv2", "sqs", "sts"}
_ENDPOINTS = (_SERVICES - {"sesv2"}) | {"email"}  # as endpoints.json calls them
_GEOGRAPHY = ("geodata", "carrierdata", "tzdata")
# What a function never imports; it would only be carried about.
_UNUSED = {
    "DecisionsFunction": ("boto3", "fastapi", "pygal", "s3transfer", "yaml"),
    "HooksFunction": ("fastapi", "mangum", "phonenumbers", "pygal", "starlark", "starlette", "yaml"),
    "StatusFunction": ("aiohttp", "fastapi", "mangum", "phonenumbers", "starlark", "starlette", "yaml"),
}
_OURS = shutil.ignore_patterns("__pycache__", "cli", "packaging", "Makefile", "requirements.txt")


def main() -> None:
    function, architecture, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    install(architecture, target)
    for name in _UNUSED.get(function, ()):
        shutil.rmtree(target / name)
    trim(target)
    compile_packages(target)
    shutil.copytree(HERE, target / "lambdas", ignore=_OURS, dirs_exist_ok=True)
    compileall.compile_dir(target / "lambdas", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def install(architecture: str, target: Path) -> None:
    """What requirements.txt names, for the processor that it is to run on, whatever this machine is."""
    machine = _PLATFORMS[architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC] + [f"manylinux2014_{machine}"]
    subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
            *("--target", str(target), "--requirement", str(HERE / "requirements.txt")),
            *("--implementation", "cp", "--python-version", "{}.{}".format(*sys.version_info)),
            *("--only-binary", ":all:"),
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
    shutil.rmtree(target / "bin", ignore_errors=True)
    for pattern in ("*.dist-info/sboms", "*.dist-info/RECORD", "*.dist-info/licenses", "botocore/data/*/*/examples-*"):
        for useless in target.glob(pattern):
            shutil.rmtree(useless) if useless.is_dir() else useless.unlink()
    _strip(target)


def _strip(target: Path) -> None:
    """Take the symbols out of libraries; where this machine's strip doesn't know the processor, they stay."""
    strip = shutil.which("strip")
    for library in target.rglob("*.so*") if strip is not None else ():
        subprocess.run([str(strip), "--strip-unneeded", str(library)], check=False, capture_output=True)  # noqa: S603


def _trim_endpoints(path: Path) -> None:
    """A megabyte, which every process would read and keep."""
    found = json.loads(path.read_text())
    for partition in found["partitions"]:
        services = partition["services"]
        partition["services"] = {name: services[name] for name in _ENDPOINTS if name in services}
    path.write_text(json.dumps(found, separators=(",", ":")))


def compile_packages(target: Path) -> None:
    """Bytecode instead of the source of other people's packages: half as much to carry, and tracebacks still say in
    which line."""
    compileall.compile_dir(target, quiet=1, legacy=True)
    for source in target.rglob("*.py"):
        if source.with_suffix(".pyc").exists():
            source.unlink()


if __name__ == "__main__":
    main()
