"""The script that sets up a clone, as far as it goes without setting one up."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="an empty environment starts no process on Windows")


def call(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run dev.py, or `code`, with this interpreter and no environment: no HOME, no LANG, no uv."""
    command = [sys.executable, "-I", *(["-c", code] if code else [str(ROOT / "dev.py")]), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={"PATH": ""}, cwd="/")


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev_script", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@posix
def test_help_names_every_command_and_needs_no_environment(dev: ModuleType) -> None:
    done = call("--help")

    assert (done.returncode, done.stderr) == (0, "")
    for command in dev.COMMANDS:
        assert f"\n  {command} " in done.stdout


@posix
@pytest.mark.parametrize("arguments", [(), ("tset",), ("--tests",)])
def test_an_unknown_command_is_a_usage_error_in_one_line(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("dev.py: ")
    assert done.stderr.count("\n") == 1


@posix
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("sys.version_info = (3, 10, 9)", "Python 3.11 or newer is needed"),
        ("sys.modules['ensurepip'] = None", "lacks venv or ensurepip"),
        ("sys.modules['venv'] = None", "lacks venv or ensurepip"),
    ],
)
def test_a_python_that_cannot_do_it_is_told_so_in_one_line(change: str, said: str, tmp_path: Path) -> None:
    """The script runs in a copy without `.venv`, on an interpreter that lacks something."""
    for name in ("dev.py", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    script = str(tmp_path / "dev.py")
    run = f"sys.argv = ['dev.py', 'test']; runpy.run_path({script!r}, run_name='__main__')"
    done = call(code=f"import runpy, sys; {change}; {run}")

    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("names", "problems"),
    [
        (["statemachine_flow/a.sql", "statemachine_flow-1.dist-info/METADATA"], []),
        (["statemachine_flow/a.sql", "dsl/reference.md"], ["the wheel puts 'dsl' into site-packages"]),
        (["statemachine_flow/b.sql"], ["the wheel lacks statemachine_flow/a.sql"]),
    ],
)
def test_a_wheel_holds_one_package_and_its_data(dev: ModuleType, names: list[str], problems: list[str]) -> None:
    assert dev.wheel_problems(names, ["statemachine_flow/a.sql"]) == problems


@posix
def test_what_ci_runs_is_executable_and_ends_with_the_tests() -> None:
    script = ROOT / ".ci" / "run"

    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "python3 dev.py test"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
