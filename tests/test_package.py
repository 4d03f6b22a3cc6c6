"""What an installed package carries."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_carries_weights_and_types_and_no_tests(tmp_path):
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    weights = "gnclightning/weights/ellipses-128"
    assert {f"{weights}/prior.safetensors", f"{weights}/README.md"} <= set(names)
    assert "gnclightning/py.typed" in names
    report = "gnclightning/reconstruction/report"
    assert {f"{report}/{n}" for n in ("template.html", "style.css", "report.js")} <= set(names)
    assert not any(name.startswith(("tests", "docs", "benchmarks")) for name in names)
