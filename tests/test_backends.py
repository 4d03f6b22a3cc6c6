"""Projectors of other packages: the orientation, centre, scale and units of the native one.

ASTRA is tested where it is installed. In place of torch-radon, which needs a GPU, a stand-in
follows its published conventions; itself and ASTRA's CUDA kernels are tested with `-m gpu`.
"""

import math
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

import torch_radon_stand_in
from gnclightning.config import load_reconstruct_config
from gnclightning.errors import UserError
from gnclightning.operators import FanBeam2D, Identity, ParallelBeam2D, Radon
from gnclightning.operators.backends import (
    astra,
    astra_cuda_projector,
    astra_projector,
    build_projector,
    torch_radon_projector,
)
from gnclightning.operators.backends.explicit import ExplicitProjector, matrix_of
from gnclightning.operators.backends.kernels import (
    KernelProjector,
    matched,
    mismatch,
    with_exact_adjoint,
)
from gnclightning.operators.checks import dot_test
from projections import check_adjoint, check_disc, check_pixels, pixel
from reports import content
from run_folders import arrays, refused_in_one_line, run, settings

F64 = torch.float64
CPU = torch.device("cpu")
ANGLES = (0.0, 0.4, math.pi / 4, math.pi / 2, 2.0, math.pi, 4.1, -1.3)
FINE = ParallelBeam2D(
    (10, 8), ANGLES, 151, 0.0625, pixel_size=0.5, unit="mm", detector_offset=0.59375
)
"""Non-square, pixels of 8 bins, the centre of rotation 9.5 bins off the middle."""
FAN = FanBeam2D(
    (9, 7),
    tuple(n * 0.9 for n in range(7)),
    301,
    0.0625,
    pixel_size=0.5,
    source_distance=8.0,
    detector_distance=4.0,
)


@pytest.fixture
def project(request, monkeypatch):
    """What builds the projector of a geometry by the package and kernel asked for."""
    package, _, kind = request.param.partition(" ")
    if package == "astra":
        pytest.importorskip("astra", reason="needs the extra astra", exc_type=ImportError)
        if kind == "cuda":
            return lambda geometry: astra.kernel_projector(geometry, kind)
        return lambda geometry: astra_projector(geometry, kind)
    if request.param == "torch-radon itself":
        pytest.importorskip("torch_radon", reason="needs torch-radon", exc_type=ImportError)
        # Its matrix, by its kernels on the GPU, which then computes on the CPU as all others do.
        return lambda geometry: torch_radon_projector(geometry, torch.device("cuda")).cpu()
    if package == "torch-radon":
        module = getattr(torch_radon_stand_in, kind.upper())
        monkeypatch.setitem(sys.modules, "torch_radon", module)
        return lambda geometry: torch_radon_projector(geometry, CPU)
    return Radon


def every(*projectors: object):
    return pytest.mark.parametrize("project", projectors, indirect=True)


def on_gpu(projector: str):
    return pytest.param(projector, marks=pytest.mark.gpu)


EXACT = (
    "native",
    "astra line",
    "astra linear",
    "astra strip",
    "torch-radon classic",
    "torch-radon second",
    on_gpu("torch-radon itself"),
)
"""With the transpose as adjoint; ASTRA's CUDA kernels have another."""
PARALLEL = every(*EXACT, on_gpu("astra cuda"))
DIVERGENT = every("native", "astra line", on_gpu("astra cuda"))


@PARALLEL
def test_single_pixels(project):
    area = torch.full((len(ANGLES),), FINE.pixel_size**2, dtype=F64)
    check_pixels(project(FINE), FINE, lambda row, column: area, 0.06)


@every("native", "astra line", "astra linear", "astra strip", "torch-radon second")
def test_single_pixels_of_images_with_a_middle_one(project):
    odd = replace(FINE, image_shape=(9, 7))
    area = torch.full((len(ANGLES),), FINE.pixel_size**2, dtype=F64)
    check_pixels(project(odd), odd, lambda row, column: area, 0.06)


@DIVERGENT
def test_single_pixels_of_fan_beams(project):
    depths = FAN.depths()
    bins = FAN.detector_bins()

    def mass(row: int, column: int) -> torch.Tensor:
        """A ray as wide as a bin is narrower at the pixel, and aslant."""
        seen = (bins[row, column] - (FAN.detector_count - 1) / 2) * FAN.detector_spacing
        slant = FAN.length / torch.hypot(seen, torch.full_like(seen, FAN.length))
        return FAN.pixel_size**2 * FAN.length / depths[row, column] / slant

    check_pixels(project(FAN), FAN, mass, 0.06)


@DIVERGENT
def test_single_pixels_of_a_fan_whose_centre_is_off(project):
    straight, shifted = project(FAN), project(replace(FAN, detector_offset=3 * 0.0625))
    x = pixel(FAN, 2, 5)
    torch.testing.assert_close(shifted(x)[:, 3:], straight(x)[:, :-3], rtol=1e-4, atol=1e-5)


@PARALLEL
def test_off_centre_disc_gives_chord_lengths(project):
    geometry = replace(ParallelBeam2D.for_image((40, 36), 12, 0.7, "mm"), detector_offset=0.0)
    check_disc(project, geometry)


@PARALLEL
def test_angles_are_taken_one_by_one(project):
    geometry = ParallelBeam2D((8, 6), ANGLES[:5], 15, 0.9)
    order = [3, 0, 4, 1, 2]
    shuffled = replace(geometry, angles=tuple(ANGLES[n] for n in order))
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(project(shuffled)(x), project(geometry)(x)[order])
    # Three numbers are three angles, not a start, a stop and a count.
    three = replace(geometry, angles=ANGLES[:3])
    torch.testing.assert_close(project(three)(x), project(geometry)(x)[:3])


@every(*EXACT)
def test_adjoint_is_the_transpose_in_batches(project):
    geometry = ParallelBeam2D((8, 6), ANGLES, 15, 0.9, detector_offset=-0.45)
    check_adjoint(project(geometry))


@every("astra linear")
def test_astras_joseph_is_the_native_one(project):
    geometry = replace(FINE, detector_count=21, detector_spacing=0.6, detector_offset=0.4)
    x = torch.rand(2, 10, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(project(geometry)(x), Radon(geometry)(x), rtol=1e-5, atol=1e-5)
    double = astra_projector(geometry, "linear", F64)
    assert double.dtype == F64
    assert dot_test(double) < 1e-15


def test_astras_kernels_without_their_matrix():
    """As the CUDA ones are called, by way of a CPU kernel."""
    pytest.importorskip("astra", reason="needs the extra astra", exc_type=ImportError)
    geometry = replace(FINE, detector_count=21, detector_spacing=0.6)
    kernels, explicit = astra.kernel_projector(geometry, "line"), astra_projector(geometry, "line")
    x = torch.rand(2, 1, 10, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kernels(x), explicit(x))
    torch.testing.assert_close(kernels.adjoint(kernels(x)), explicit.adjoint(explicit(x)))
    assert matched(kernels)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="a GPU that ASTRA can use, got none"):
            astra_cuda_projector(geometry)


def test_the_worst_of_several_dot_tests_counts():
    class Wrong(Identity):
        def _rmatvec(self, y):
            return y * torch.linspace(1, 2, y.shape[-1])

    found = [dot_test(Wrong((6, 6)), seed, batch=2) for seed in range(3)]
    assert found[0] < max(found) == mismatch(Wrong((6, 6)))


@every("torch-radon classic", "torch-radon second")
def test_torch_radons_own_back_projection_is_never_the_adjoint(project):
    geometry = ParallelBeam2D((16, 16), ANGLES, 25, 0.9)
    radon = torch_radon_stand_in.Radon(16, torch.tensor(ANGLES), 25, 0.9)
    kernels = KernelProjector(geometry, radon.forward, radon.backprojection, CPU)
    assert dot_test(kernels) > 1e-4
    assert not matched(kernels)
    projector = project(geometry)
    x = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(projector(x), radon.forward(x))
    assert isinstance(projector, ExplicitProjector)
    # Neither is what autograd makes of it, where that is the back-projection.
    y = torch.rand(3, len(ANGLES), 25, generator=torch.Generator().manual_seed(1))
    assert (projector.adjoint(y) - radon.backprojection(y)).abs().max() > 1e-2


def test_kernels_that_match_stay():
    geometry = ParallelBeam2D((8, 6), ANGLES, 15, 0.9)
    native = Radon(geometry)
    kernels = KernelProjector(geometry, native, native.adjoint, CPU)
    assert with_exact_adjoint(kernels) is kernels
    x = torch.rand(2, 8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ExplicitProjector(geometry, matrix_of(native))(x), native(x))
    slightly = KernelProjector(geometry, native, lambda y: 1.001 * native.adjoint(y), CPU)
    assert isinstance(with_exact_adjoint(slightly), ExplicitProjector)


def test_what_is_not_there_is_explained(monkeypatch):
    geometry = ParallelBeam2D((8, 6), ANGLES, 15, 0.9)
    for module in ("astra", "torch_radon"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"package astra.*pip install 'gnclightning\[astra\]'"):
        build_projector(geometry, "astra")
    with pytest.raises(UserError, match=r"package torch_radon.*conda-forge"):
        torch_radon_projector(geometry, CPU)
    with pytest.raises(UserError, match=r"device=cuda for operator\.backend=torch_radon, got cpu"):
        build_projector(geometry, "torch_radon")
    monkeypatch.setitem(sys.modules, "torch_radon", torch_radon_stand_in)
    monkeypatch.delattr(torch_radon_stand_in, "ParallelBeam")
    monkeypatch.delattr(torch_radon_stand_in, "Radon")
    with pytest.raises(UserError, match="ParallelBeam or Radon, got neither"):
        torch_radon_projector(geometry, CPU)


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (FAN, "parallel beams for torch-radon, got a fan beam"),
        (replace(FINE, detector_offset=0.02), r"whole or half bins.*got 0\.32 bins"),
        (replace(FINE, image_shape=(9, 8)), "even numbers of rows and columns.*got 9 x 8"),
        (replace(FINE, image_shape=(9, 7)), "squares of 16, 32, .* pixels, got 9 x 7"),
    ],
)
def test_geometries_that_torch_radon_does_not_know(geometry, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_radon", torch_radon_stand_in.CLASSIC)
    with pytest.raises(UserError, match=message):
        torch_radon_projector(geometry, CPU)


def test_kernels_that_astra_does_not_have():
    for kernel in ("linear", "strip"):
        with pytest.raises(UserError, match=f"kernel line for a fan beam, got {kernel}"):
            astra_projector(FAN, kernel)
    with pytest.raises(UserError, match=r"expected a kernel among .*got 'cuda'"):
        astra_projector(FINE, "cuda")


def test_a_matrix_too_large_is_refused():
    large = ParallelBeam2D.for_image(2048, 2000)
    with pytest.raises(UserError, match="entries in the matrix of another package's projector"):
        astra_projector(large)


class TestCommandLine:
    def test_another_projector_measures_and_reconstructs(self, prior, tmp_path):
        """By the weights that ASTRA and the native projector share up to rounding."""
        pytest.importorskip("astra", reason="needs the extra astra", exc_type=ImportError)
        choices = {"native": (), "astra": ("operator.backend=astra",)}
        native, astra = (
            arrays(run(prior, tmp_path / name, *choice)) for name, choice in choices.items()
        )
        for name in ("sinogram", "fbp", "tv", "preconditioned"):
            assert np.abs(native[name] - astra[name]).max() < 1e-3 * np.abs(native[name]).max()
        config = load_reconstruct_config(tmp_path / "native" / "config.yaml", [])
        assert config.operator.backend == "native"
        strip = arrays(run(prior, tmp_path / "strip", *choices["astra"], "operator.kernel=strip"))
        assert np.abs(strip["sinogram"] - native["sinogram"]).max() > 0.1
        # The report, too, compares with the sinogram by the projector that the run had.
        geometry = ParallelBeam2D.for_image(32, 20)
        x, y = (torch.from_numpy(strip[name])[:, None] for name in ("preconditioned", "sinogram"))
        misfit = (astra_projector(geometry, "strip")(x) - y).square().mean((1, 2, 3)).sqrt()
        with h5py.File(tmp_path / "strip" / "reconstructions.h5") as file:
            expected = misfit.double().numpy() / file.attrs["sigma_y"]
        found = content(tmp_path / "strip")["summary"]["discrepancy"]
        assert found == pytest.approx(expected.mean(), rel=1e-4)

    @pytest.mark.parametrize(
        ("backend", "parts"),
        [
            ("astra", ("the package astra", "pip install 'gnclightning[astra]'")),
            ("torch_radon", ("device=cuda for operator.backend=torch_radon, got cpu",)),
        ],
    )
    def test_what_is_not_there(self, backend, parts, prior, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "astra", None)
        output = tmp_path / "output"
        arguments = settings(prior, output, f"operator.backend={backend}")
        refused_in_one_line(capsys, arguments, output, parts)
