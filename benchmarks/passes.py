"""Passes of the suite, each in a process of its own, and what they give together."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
_RAN = (0, 1)
"""pytest's exit status where all tests were run: all passed, or some failed."""


class Pass(NamedTuple):
    """What one pass gave.

    Attributes:
        rows: what each benchmark is about, with the median of its rounds, by the test's name.
        failed: names of the tests that ended with an error; none of them is in `rows`.
    """

    rows: dict[str, dict[str, Any]]
    failed: list[str]


def one_pass(given: argparse.Namespace) -> Pass:
    """Every benchmark of the suite once. One that fails takes nothing from the others."""
    timed = given.device == "cpu" and given.threads == 1
    with tempfile.TemporaryDirectory() as folder:
        report, outcomes = Path(folder) / "report.json", Path(folder) / "outcomes.xml"
        command = [
            *(sys.executable, "-m", "pytest", "benchmarks/suite", "--quiet"),
            *("-p", "no:xdist", "-p", "no:cacheprovider", f"--junitxml={outcomes}"),
            *("--override-ini=addopts=", "--override-ini=python_files=bench_*.py"),
            *("--override-ini=filterwarnings=default", f"--device={given.device}"),
            *(f"--benchmark-json={report}", "--benchmark-quiet"),
            f"--benchmark-timer=time.{'process_time' if timed else 'perf_counter'}",
            *(["--tiny"] if given.tiny else []),
            *(["-k", given.only] if given.only else []),
        ]
        more = filter(None, [os.environ.get("PYTHONPATH")])
        paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), *more])
        environment = os.environ | {"OMP_NUM_THREADS": str(given.threads), "PYTHONPATH": paths}
        status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        if status not in _RAN:
            raise SystemExit(f"expected the suite to run, but pytest ended with status {status}")
        failed = [
            case.attrib["name"]
            for case in ElementTree.parse(outcomes).iter("testcase")
            if case.find("failure") is not None or case.find("error") is not None
        ]
        found = json.loads(report.read_text())["benchmarks"]
    rows = {
        entry["name"]: {
            "test": entry["name"].partition("[")[0].removeprefix("test_"),
            **entry["extra_info"],
            "seconds": entry["stats"]["median"],
        }
        for entry in found
        if entry["name"] not in failed
    }
    return Pass(rows, failed)


def merged(passes: list[Pass]) -> dict[str, list[Any]]:
    """`rows`: of the benchmarks that never failed, with their seconds in each pass; `failed`."""
    failed = sorted({name for one in passes for name in one.failed})
    rows = [
        {**row, "seconds": [one.rows[name]["seconds"] for one in passes]}
        for name, row in passes[0].rows.items()
        if name not in failed
    ]
    return {"rows": rows, "failed": failed}
