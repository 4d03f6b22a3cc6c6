"""Settings and run folders that do not fit a reconstruction of phantoms."""

from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from bad_inputs import OF_PHANTOMS, SIZE, Case, reconstruction, refused, refused_phantoms
from gnclightning import build_run, cli
from gnclightning.reconstruction.chunks import Chunks
from run_folders import tiny_prior


def _folder(
    what: str, spoil: Callable[[Path], object], settings: Sequence[str], *says: str
) -> Case:
    """A run folder in which a run has begun, and what `spoil` did to it."""

    def plant(folder: Path) -> None:
        with (
            chdir(folder),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
            mock.patch.object(build_run, "run", return_value=None),
            mock.patch.object(Chunks, "finish", return_value=None),
        ):
            assert cli.reconstruct(reconstruction(*OF_PHANTOMS)) == 0
        spoil(folder)

    return refused(what, plant, (*OF_PHANTOMS, *settings), *says)


def _other_weights(folder: Path) -> None:
    tiny_prior(folder / "p.safetensors", (SIZE, SIZE))
    content = bytearray((folder / "p.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "p.safetensors").write_bytes(content)


RUNS = [
    refused_phantoms(
        "alpha: a constant without value",
        ("alpha.rule=constant",),
        "alpha.value: expected a number with rule=constant, got null",
    ),
    refused_phantoms(
        "alpha: a sweep over the run's own value",
        ("alpha.sweep=[0.25,0.5]",),
        "alpha.sweep: expected values other than alpha.value=0.5 and each other, got [0.25, 0.5]",
    ),
    refused_phantoms(
        "alpha: a sweep over a negative value",
        ("alpha.sweep=[1,-1]",),
        "alpha.sweep: expected > 0, got -1.0",
    ),
    refused_phantoms(
        "alpha: a sweep and the discrepancy principle",
        ("alpha.sweep=[1]", "alpha.rule=discrepancy"),
        "alpha.sweep: expected none with rule=discrepancy",
    ),
    refused_phantoms(
        "alpha: no such rule", ("alpha.rule=discrepency",), "did you mean discrepancy?"
    ),
    refused_phantoms(
        "alpha: a discrepancy of 0", ("alpha.tau=0",), "alpha.tau: expected > 0, got 0"
    ),
    refused_phantoms(
        "noise: none, and no weight of total variation",
        ("noise.relative=0", "methods=[tv]", "alpha.rule=constant", "alpha.value=1"),
        "tv.weight=null derives the weight from the noise level, which is 0: give",
    ),
    refused_phantoms(
        "noise: weights of simulated measurements", ("noise.weights=transmission",), "sinogram"
    ),
    refused_phantoms("processes: none", ("devices=0",), "devices: expected >= 1, <= 1024, got 0"),
    refused_phantoms(
        "batch: neither a number nor auto",
        ("batch_size=many",),
        "batch_size: expected auto or a number of images, got 'many'",
    ),
    refused_phantoms("chunks: empty", ("chunk_size=0",), "chunk_size: expected >= 1, got 0"),
    refused_phantoms(
        "starts: all the same",
        ("starts=3", "start=fbp"),
        "starts: expected 1 with start=fbp, which is the same each time, got 3: give start=random",
    ),
    refused_phantoms("starts: none", ("starts=0",), "starts: expected >= 1, <= 1000, got 0"),
    refused_phantoms(
        "DICOM output: of phantoms",
        ("output_dicom=true",),
        "output_dicom: expected false with data.name=ellipses, which is no DICOM series",
    ),
    _folder(
        "run folder: other settings than those that it began with",
        lambda folder: None,
        ("seed=5",),
        "expected the settings that the run in run began with, got seed=5 (before: 0)",
        "overwrite=true",
    ),
    _folder(
        "run folder: other weights than those that it began with",
        _other_weights,
        (),
        "got other weights of the prior: give those, or overwrite=true",
    ),
    _folder(
        "run folder: damaged settings",
        lambda folder: (folder / "run" / "config.yaml").write_text("sead: 3\n"),
        (),
        "expected the settings of a run in run/config.yaml",
        "overwrite=true",
    ),
    refused(
        "run folder: files that are no run",
        lambda folder: ((folder / "run").mkdir(), (folder / "run" / "thesis.tex").touch()),
        OF_PHANTOMS,
        "expected an empty run folder, got run with files in it: give overwrite=true",
    ),
    refused(
        "run folder: a file",
        lambda folder: (folder / "run").touch(),
        OF_PHANTOMS,
        "expected a folder at output=run, got a file: move it",
    ),
]
