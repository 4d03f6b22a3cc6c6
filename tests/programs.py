"""Programs in processes of their own, and what a fresh Python imports for them."""

import os
import subprocess
import sys
from ast import literal_eval
from pathlib import Path


def python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def imported(code: str, *modules: str) -> list[str]:
    """Those of the modules that are imported once a fresh Python has run the code."""
    done = python("-c", f"{code}\nimport sys\nprint([m for m in {modules} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    return literal_eval(done.stdout.splitlines()[-1])


def check_program(module: str, setting: str, folder: Path) -> None:
    """`python -m` explains its settings, and a mistake leaves nothing in the (empty) folder."""
    done = python("-m", module, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m {module} [--config FILE] [key=value ...]")
    assert f"\n    {setting}" in done.stdout
    done = python("-m", module, "sead=3", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert os.listdir(folder) == []
