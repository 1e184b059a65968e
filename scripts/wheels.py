"""``scripts/wheels``: the edge's core compiled by mypyc, in a wheel for each processor (``edge/compiled_core``).

mypyc turns the sources into C, the same for every processor; Debian's compilers make of that what each one needs. A
wheel fits the Python that this runs with, and machines whose C library is not older than the one here.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.compiled_core import DISTRIBUTION, PACKAGES, version
from scripts.fleet_parts import ROOT

COMPILERS = {"x86_64": "x86_64-linux-gnu-gcc", "aarch64": "aarch64-linux-gnu-gcc"}
"""For each processor, as wheels name it."""
_SETTINGS = "[mypy]\nstrict = true\nplugins = pydantic.mypy\n"
_FLAGS = ("-fPIC", "-fwrapv", "-DNDEBUG", "-fno-semantic-interposition")
_PYTHON = f"{sys.version_info.major}{sys.version_info.minor}"


class WheelError(Exception):
    """A wheel can't be made; the text says why."""


@dataclass(frozen=True, slots=True)
class _Object:
    """A library to be: where it is in the wheel, without its suffix, and the C files that it is made of."""

    name: str
    sources: list[Path]
    flags: list[str]


def build(directory: Path, processors: list[str], level: str) -> list[Path]:
    """Make a wheel for each of ``processors`` in ``directory``; ``level`` is the compiler's of optimization. Raises
    WheelError."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sipwizard-wheels-") as scratch:
        release = version()  # of the sources as they are before
        objects = _translated(Path(scratch), level)
        return [
            _wheel(directory, processor, release, _compiled(Path(scratch), processor, objects))
            for processor in processors
        ]


def _translated(scratch: Path, level: str) -> list[_Object]:
    """C in ``scratch``, by mypyc. Types that don't fit end the process, as mypyc does it."""
    from mypyc.build import mypycify  # a second's work, which nothing else here needs

    settings = scratch / "mypy.ini"
    settings.write_text(_SETTINGS)
    folders = [f"edge/{package}" for package in PACKAGES]
    with contextlib.chdir(ROOT):
        extensions = mypycify(
            [f"--config-file={settings}", f"--cache-dir={scratch / 'cache'}", *folders],
            opt_level=level,
            debug_level="0",
            multi_file=True,
            target_dir=str(scratch / "c"),
            group_name=DISTRIBUTION,
        )
    return [_object(extension) for extension in extensions]


def _object(extension: Any) -> _Object:
    """Of a setuptools.Extension."""
    place = f"{DISTRIBUTION}/{extension.name.replace('.', '/')}"
    includes = [f"-I{folder}" for folder in extension.include_dirs]
    return _Object(place, [Path(source) for source in extension.sources], [*extension.extra_compile_args, *includes])


def _compiled(scratch: Path, processor: str, objects: list[_Object]) -> dict[str, bytes]:
    """What goes into the wheel: contents by path."""
    suffix = f".cpython-{_PYTHON}-{processor}-linux-gnu.so"
    built = scratch / processor
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(_compile, processor, source, built / f"{number}-{index}.o", one.flags)
            for number, one in enumerate(objects)
            for index, source in enumerate(one.sources)
        ]
        made = dict(job.result() for job in jobs)
        links = [
            pool.submit(_link, processor, [made[source] for source in one.sources], built / f"{number}.so")
            for number, one in enumerate(objects)
        ]
        return {one.name + suffix: link.result() for one, link in zip(objects, links, strict=True)}


def _compile(processor: str, source: Path, target: Path, flags: list[str]) -> tuple[Path, Path]:
    target.parent.mkdir(exist_ok=True)
    includes = {f"-I{sysconfig.get_path(kind)}" for kind in ("include", "platinclude")}
    _run([COMPILERS[processor], *_FLAGS, *flags, *sorted(includes), "-c", str(source), "-o", str(target)], processor)
    return source, target


def _link(processor: str, objects: list[Path], target: Path) -> bytes:
    _run([COMPILERS[processor], "-shared", "-s", *map(str, objects), "-o", str(target)], processor)
    return target.read_bytes()


def _run(command: list[str], processor: str, text: str = "") -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        package = f"gcc-{processor.replace('_', '-')}-linux-gnu"
        raise WheelError(f"there is no {command[0]}; on Debian: apt-get install {package}") from error
    if done.returncode:
        raise WheelError(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
    return done.stdout


def _wheel(directory: Path, processor: str, release: str, contents: dict[str, bytes]) -> Path:
    """The file, as PyPA's specification of binary distributions has it."""
    tag = f"cp{_PYTHON}-cp{_PYTHON}-manylinux_{_c_library(processor)}_{processor}"
    info = f"{DISTRIBUTION}-{release}.dist-info"
    files = {
        **contents,
        f"{DISTRIBUTION}/__init__.py": f'VERSION = "{release}"\n'.encode(),
        f"{info}/METADATA": _fields({"Metadata-Version": "2.1", "Name": DISTRIBUTION, "Version": release}),
        f"{info}/WHEEL": _fields({"Wheel-Version": "1.0", "Root-Is-Purelib": "false", "Tag": tag}),
    }
    record = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in files.items()]
    record.append(f"{info}/RECORD,,")
    files[f"{info}/RECORD"] = "\n".join([*record, ""]).encode()
    wheel = directory / f"{DISTRIBUTION}-{release}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return wheel


def _fields(values: dict[str, str]) -> bytes:
    return "".join(f"{name}: {value}\n" for name, value in values.items()).encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()


def _c_library(processor: str) -> str:
    """The version of glibc that is compiled against, as tags have it (PEP 600)."""
    text = _run(
        [COMPILERS[processor], "-E", "-P", "-"], processor, "#include <features.h>\n__GLIBC__ __GLIBC_MINOR__\n"
    )
    return "_".join(text.split()[-2:])


def main(
    directory: Annotated[Path, typer.Option(help="Where the wheels go.")] = ROOT / "wheels",
    processor: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(COMPILERS)}; all if none.")] = None,
    level: Annotated[str, typer.Option(help="The compiler's level of optimization.")] = "2",
) -> None:
    """The core compiled, in a wheel for each processor: minutes for each of them."""
    unknown = set(processor or []) - COMPILERS.keys()
    if unknown:
        sys.exit(f"wheels: no such processor: {', '.join(sorted(unknown))}")
    try:
        for wheel in build(directory, processor or list(COMPILERS), level):
            print(wheel)
    except WheelError as error:
        sys.exit(f"wheels: {error}")


if __name__ == "__main__":
    typer.run(main)
