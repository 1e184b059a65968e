"""Which core runs: the compiled one only where it is of these very sources."""

from __future__ import annotations

import sys
import zipfile

import pytest

from edge import compiled_core
from scripts import wheels

LIBRARY = f"{compiled_core.DISTRIBUTION}__mypyc"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a core that says that it is of this version."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(version: str) -> None:
        package = tmp_path / compiled_core.DISTRIBUTION
        package.mkdir()
        (package / "__init__.py").write_text(f'VERSION = "{version}"\n')

    yield install
    for name in (compiled_core.DISTRIBUTION, LIBRARY):
        sys.modules.pop(name, None)


def test_without_one_the_sources_run_and_it_is_said_why(monkeypatch):
    monkeypatch.setattr(compiled_core, "DISTRIBUTION", "sipwizard_core_of_nobody")
    assert compiled_core.find() == ([], "none is installed")


def test_one_of_other_sources_isnt_used(installed):
    installed("0.1.0+0011223344556677")
    assert compiled_core.find() == (
        [],
        "the one that is installed (0.1.0+0011223344556677) was made from other sources",
    )


def test_one_that_cant_be_loaded_isnt_used(installed):
    installed(compiled_core.version())
    path, fault = compiled_core.find()
    assert path == []
    assert fault == f"it can't be loaded: there is no {LIBRARY}"


def test_one_for_another_c_library_isnt_used(installed, tmp_path):
    installed(compiled_core.version())
    (tmp_path / compiled_core.DISTRIBUTION / f"{LIBRARY}.py").write_text('raise ImportError("GLIBC_2.99 not found")')
    assert compiled_core.find() == ([], "it can't be loaded: GLIBC_2.99 not found")


def test_one_of_these_sources_is_used(installed, tmp_path):
    installed(compiled_core.version())
    (tmp_path / compiled_core.DISTRIBUTION / f"{LIBRARY}.py").write_text("")
    assert compiled_core.find() == ([str(tmp_path / compiled_core.DISTRIBUTION / "edge")], "")


def test_the_version_changes_with_any_source(tmp_path, monkeypatch):
    one, other = tmp_path / "edge", tmp_path / "contract"
    for folder in (one, other):
        folder.mkdir()
        (folder / "a.py").write_text("a = 1\n")
    monkeypatch.setattr(compiled_core, "_SOURCES", (one, other))
    versions = {compiled_core.version()}
    for folder in (one, other):
        (folder / "a.py").write_text("a = 2\n")
        versions.add(compiled_core.version())
    (one / "a.py").rename(one / "b.py")
    versions.add(compiled_core.version())
    assert len(versions) == 4


def test_a_wheel_says_what_it_fits(tmp_path):
    wheel = wheels._wheel(
        tmp_path, "x86_64", compiled_core.version(), {"sipwizard_core/sipwizard_core__mypyc.so": b"machine code"}
    )
    name, version, python, _, platform = wheel.stem.split("-")
    assert (name, version) == (compiled_core.DISTRIBUTION, compiled_core.version())
    assert python == f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert platform.startswith("manylinux_2_")
    assert platform.endswith("_x86_64")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        record = archive.read(f"{name}-{version}.dist-info/RECORD").decode()
        assert [line.partition(",")[0] for line in record.splitlines()] == names
        assert f'VERSION = "{version}"' in archive.read("sipwizard_core/__init__.py").decode()


def test_without_a_compiler_it_is_said_which_package_has_it(monkeypatch):
    monkeypatch.setitem(wheels.COMPILERS, "aarch64", "no-such-gcc")
    with pytest.raises(wheels.WheelError, match="apt-get install gcc-aarch64-linux-gnu"):
        wheels._c_library("aarch64")
