"""Settings of other problems, fans, unseen images and experiments that do not fit; bad folders."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bad_inputs import Case, reconstruction, refused_phantoms
from gnclightning import cli
from gnclightning.errors import UserError
from gnclightning.experiments.alpha_study import alpha_study
from gnclightning.experiments.comparison.program import comparison
from gnclightning.experiments.table1 import table1
from gnclightning.experiments.table2 import table2
from gnclightning.priors import from_pretrained as load_prior
from run_folders import tiny_prior

_FAN = ("geometry.beam=fan", "geometry.source_distance=100")


def from_pretrained(arguments: Sequence[str]) -> int:
    """The function of that name with what it raises in the place where programs write it."""
    try:
        load_prior(*arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _experiment(
    what: str, program: Callable[[Sequence[str]], int], words: Sequence[str], *says: str
) -> Case:
    return Case(f"experiment: {what}", lambda _: [*words, "output=run"], program, says)


def _folder(what: str, plant: Callable[[Path], object], *says: str) -> Case:
    """A folder `weights`, from which a prior would be loaded."""

    def write(folder: Path) -> list[str]:
        (folder / "weights").mkdir()
        plant(folder / "weights")
        return ["weights"]

    return Case(f"weights: {what}", write, from_pretrained, says)


PROBLEMS = [
    refused_phantoms("problem: no such one", ("operator.name=masc",), "did you mean mask?"),
    refused_phantoms(
        "problem: the geometry of projections",
        ("operator.name=mask", *_FAN),
        "geometry.beam is a setting of projections, got operator.name=mask: leave it out",
    ),
    refused_phantoms(
        "problem: a setting of another one",
        ("operator.name=mask", "operator.width=3"),
        "operator.width is a setting of operator.name=blur, but the choice is operator.name=mask",
    ),
    refused_phantoms(
        "problem: filtered back-projection without projections",
        ("operator.name=mask", "methods=[fbp]"),
        "methods: expected direct, the direct reconstruction, with operator.name=mask, got fbp",
    ),
    Case(
        "problem: sinograms as images",
        lambda _: reconstruction("operator.name=fourier", "data.name=sinogram", "data.path=x"),
        cli.reconstruct,
        ("data.name=sinogram holds projections, got operator.name=fourier: give images to",),
    ),
    refused_phantoms(
        "problem: no pixel known",
        ("operator.name=mask", "operator.share=0"),
        "operator.share: expected > 0, <= 1, got 0",
    ),
    refused_phantoms(
        "problem: a kernel larger than the image",
        ("operator.name=blur", "operator.width=20"),
        "no larger than the image, 32x32, got operator.width=20",
        "lower it",
    ),
    refused_phantoms(
        "problem: blocks that do not fit the image",
        ("operator.name=super_resolution", "operator.factor=5"),
        "multiples of the factor, got (32, 32) and 5",
    ),
    refused_phantoms(
        "problem: no noise",
        ("operator.name=identity", "noise.absolute=0"),
        "derives the weight from the noise level, which is 0: give alpha.rule=constant",
    ),
    refused_phantoms(
        "back end: a kernel of another one",
        ("operator.kernel=strip",),
        "operator.kernel: expected operator.backend=astra beside strip",
    ),
    refused_phantoms(
        "back end: torch-radon without a GPU",
        ("operator.backend=torch_radon",),
        "expected device=cuda for operator.backend=torch_radon, got cpu",
    ),
    refused_phantoms(
        "back end: bins that deepinv does not have",
        ("operator.backend=deepinv",),
        "expected geometry.detector_spacing=1 for deepinv",
    ),
    refused_phantoms(
        "fan: without source", ("geometry.beam=fan",), "give geometry.source_distance=VALUE"
    ),
    refused_phantoms(
        "fan: a source without fan",
        ("geometry.source_distance=100",),
        "are settings of geometry.beam=fan, got parallel beams: choose that, or leave them out",
    ),
    refused_phantoms(
        "fan: the source within the image",
        ("geometry.beam=fan", "geometry.source_distance=10"),
        "source_distance: expected more than 22.6274 pixel, half the image's diagonal, got 10",
    ),
    refused_phantoms(
        "fan: a kernel of ASTRA that is for parallel beams",
        (*_FAN, "operator.backend=astra", "operator.kernel=strip"),
        "expected ASTRA's kernel line for a fan beam, got strip: take operator.kernel=line",
    ),
    refused_phantoms(
        "fan: deepinv",
        (*_FAN, "operator.backend=deepinv", "geometry.detector_spacing=1"),
        "expected parallel beams for deepinv, got a fan beam: take operator.backend=native",
    ),
    Case(
        "unseen images: of a set that they do not have",
        lambda _: reconstruction("data.name=unseen", "data.split=test"),
        cli.reconstruct,
        ("data.split is a setting of data.name=ellipses", "the choice is data.name=unseen"),
    ),
    Case(
        "unseen images: none",
        lambda _: reconstruction("data.name=unseen", "data.count=0"),
        cli.reconstruct,
        ("data.count: expected >= 1, got 0",),
    ),
]

EXPERIMENTS = [
    _experiment("a typo", table1, ["data.cuont=4"], "data.cuont: did you mean data.count?"),
    _experiment("a single start", table1, ["starts=1"], "starts: expected >= 2, got 1"),
    _experiment(
        "a start that is the same each time",
        table1,
        ["start=fbp"],
        "settings that the experiment leaves open, got start=fbp, which it sets itself: leave it",
    ),
    _experiment(
        "what its arms decide",
        table2,
        ["solver.steps=7", "solver.step_rule=constant"],
        "got solver.steps=7 solver.step_rule=constant, which it sets itself: leave them out",
    ),
    _experiment(
        "a rule for alpha where rules are compared", alpha_study, ["alpha.rule=auto"], "alpha.rule"
    ),
    _experiment(
        "a setting of another solver",
        table1,
        ["solver.cg_steps=3"],
        "solver.cg_steps is a setting of solver.name=preconditioned",
    ),
    _experiment(
        "measurements without truth",
        table2,
        ["data.name=sinogram", "data.path=x"],
        "expected images whose truth is known, got data.name=sinogram: give data.name=ellipses",
    ),
    _experiment(
        "settings as a list", table1, ["settings=[seed=1]"], "got a list: leave settings= out"
    ),
    _experiment(
        "other images than it compares on",
        comparison,
        ["data.name=ldct", "data.path=x"],
        "expected the images of this experiment, got data.name=ldct: leave it out",
    ),
]

FOLDERS = [
    _folder(
        "two in one folder",
        lambda folder: [tiny_prior(folder / f"{name}.safetensors") for name in "ab"],
        "expected one .safetensors file in weights, found 2; name the file itself",
    ),
    _folder(
        "a folder with a pickle alone",
        lambda folder: (folder / "pytorch_model.bin").write_bytes(b"\x80\x02."),
        "found 0 beside pytorch_model.bin, which may hold pickles and are not read",
    ),
    Case(
        "weights: a repository that is not here",
        lambda _: ["someone/ct-prior"],
        from_pretrained,
        ("nothing is downloaded", "hf download someone/ct-prior --local-dir FOLDER"),
    ),
]
