"""The paper's tables and figures: files, orderings that theory demands, nothing done twice."""

import json
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import pytest
from matplotlib.image import imread

from gnclightning import build_run
from gnclightning.experiments.arms.results import ResultRow
from gnclightning.experiments.figure2 import figure2
from gnclightning.experiments.figure3 import figure3
from gnclightning.experiments.table1 import table1
from gnclightning.experiments.table2 import table2
from run_folders import table

PROGRAMS = {"table1": table1, "table2": table2, "figure2": figure2, "figure3": figure3}
ARMS = {
    "table1": ["gradient_descent-0", "gradient_descent-1", "gnc_flow-0", "gnc_flow-1"],
    "table2": ["constant", "adaptive", "preconditioned", "preconditioned-10"],
    "figure2": ["gnc_flow", "gradient_like", "preconditioned"],
    "figure3": ["preconditioned", "gnc_flow"],
}


def words(prior: Path, folder: Path, *more: str) -> list[str]:
    """Arguments of a quick run with an untrained prior."""
    small = ("--quick", "data.size=32", "geometry.angles=20", "device=cpu", "progress=false")
    return [*small, f"prior.path={prior}", f"output={folder}", *more]


@pytest.fixture(scope="module")
def runs(prior, tmp_path_factory) -> dict[str, Path]:
    """A quick run of each experiment; that of Table 1 has two images and is tracked."""
    root = tmp_path_factory.mktemp("experiments")
    more = {"table1": ("data.count=2", "logger.mode=offline")}
    for name, program in PROGRAMS.items():
        assert program(words(prior, root / name, *more.get(name, ()))) == 0
    return {name: root / name for name in PROGRAMS}


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("name", PROGRAMS)
class TestFiles:
    def test_results_are_those_of_the_arms(self, name, runs):
        rows = table(runs[name] / "results.csv")
        assert tuple(rows[0]) == ResultRow._fields
        assert list(dict.fromkeys(row["arm"] for row in rows)) == ARMS[name]
        for row in rows:
            arm = runs[name] / "arms" / row["arm"]
            own = [r for r in table(arm / "metrics.csv") if r["method"] == row["method"]]
            assert int(row["images"]) == len(own) > 0
            for key in ("psnr", "ssim"):
                values = [float(r[key]) for r in own]
                assert float(row[key]) == pytest.approx(fmean(values), rel=1e-12)
                assert float(row[f"{key}_std"]) == pytest.approx(pstdev(values), abs=1e-12)
            for key in ResultRow._fields[7:12]:
                assert float(row[key]) == pytest.approx(fmean(float(r[key]) for r in own))
            certificate = json.loads((arm / "certificate.json").read_text())
            if row["method"] in certificate:
                images = certificate[row["method"]]["images"]
                assert int(row["gradient_like"]) == sum(i["gradient_like"] for i in images)
            else:
                assert row["gradient_like"] == ""

    def test_the_page_and_the_summary_say_the_same(self, name, runs):
        page, found = (runs[name] / "results.md").read_text(), summary(runs[name])
        command = found["command"]
        assert command.startswith(f"python -m gnclightning.experiments.{name} --quick data.size=32")
        assert f"`{command}`" in page
        environment = summary(runs[name] / "arms" / ARMS[name][0])["environment"]
        assert f"Measured {environment['date']} on {environment['hardware']}" in page
        for row in found["tables"][0]["rows"]:
            assert f"| {' | '.join(row)} |" in page
        csv_rows = table(runs[name] / "results.csv")
        assert [row["psnr"] for row in found["results"]] == [float(r["psnr"]) for r in csv_rows]
        assert f"]({name}.png)" in page

    def test_the_figure_is_not_blank(self, name, runs):
        pixels = (255 * imread(runs[name] / f"{name}.png")[..., :3]).astype(np.uint8)
        assert min(pixels.shape[:2]) > 200
        for part in np.array_split(pixels, 3, axis=1):
            assert len(np.unique(part.reshape(-1, 3), axis=0)) > 20

    def test_the_command_gives_the_same_again_without_work(self, name, runs, monkeypatch):
        before = (runs[name] / "results.csv").read_bytes()
        worked = []
        monkeypatch.setattr(build_run, "run", lambda *_: worked.append(1))
        arguments = summary(runs[name])["command"].split()[3:]
        assert PROGRAMS[name]([*arguments, f"output={runs[name]}", "logger.mode=disabled"]) == 0
        assert worked == []
        assert (runs[name] / "results.csv").read_bytes() == before
