"""The schema of a reconstruction. Equations are those of arXiv 2404.18699."""

from dataclasses import dataclass, field, replace
from typing import Literal

from gnclightning.config.baselines import (
    Baseline,
    DDSConfig,
    DiffPIRConfig,
    DPSConfig,
    FBPConfig,
    NmAPGConfig,
    OnObjectiveConfig,
    PlugAndPlayConfig,
    TikhonovConfig,
    TVConfig,
)
from gnclightning.config.common import SEEDS, ImageLoggerConfig
from gnclightning.config.folder import FolderConfig
from gnclightning.config.ldct import LDCTConfig
from gnclightning.config.sections import FieldError, Section, bounded, one_of, within
from gnclightning.config.solver import (
    GNCFlowConfig,
    GradientDescentConfig,
    GradientLikeConfig,
    PreconditionedConfig,
    SolverConfig,
)
from gnclightning.errors import UserError


@dataclass(kw_only=True)
class PriorSourceConfig(Section):
    """The learned prior."""

    path: str = "ellipses-128"
    """Name of shipped weights, or a file or folder of weights."""
    evaluate_at: Literal["x", "scaled"] = "x"
    """Where the regulariser is evaluated: at x, or scaled: at gamma_t x (Gaussian homotopy)."""


@dataclass(kw_only=True)
class DataConfig(Section):
    """Images that are measured and reconstructed."""

    name: str
    """Where the images come from."""


@dataclass(kw_only=True)
class DemoDataConfig(DataConfig):
    """Held-out phantoms and one real CT slice, 128 x 128."""

    name: str = "demo"
    count: int = bounded(9, ">= 1")
    """Images; from 9 on the last is the real CT slice, all others are phantoms."""


@dataclass(kw_only=True)
class EllipsesDataConfig(DataConfig):
    """ELLIPSES phantoms that training never sees."""

    name: str = "ellipses"
    count: int = bounded(8, ">= 1")
    """Images."""
    size: int = bounded(128, ">= 3")
    """Height and width of an image, in pixels."""
    split: Literal["test", "validation"] = "test"
    """The set that the phantoms are drawn from."""
    start: int = bounded(0, ">= 0")
    """Index of the first phantom within the set."""
    file: str | None = None
    """A file of `gnc-data ellipses` that holds them, whose checksum is verified; null: they are
    generated."""


@dataclass(kw_only=True)
class FolderDataConfig(FolderConfig, DataConfig):
    """Images in own files, mapped to [0,1] as for training."""

    count: int | None = bounded(None, ">= 1")
    """Images, the first ones; null: all."""


@dataclass(kw_only=True)
class LDCTDataConfig(LDCTConfig, DataConfig):
    """CT series in DICOM files, preprocessed as for training; give the same settings as there."""

    split: Literal["test", "validation", "train"] = "test"
    """The patients whose slices are reconstructed."""
    start: int = bounded(0, ">= 0")
    """Number of the first slice; they are sorted by patient, series and position."""
    count: int | None = bounded(8, ">= 1")
    """Slices; null: all from data.start on."""


@dataclass(kw_only=True)
class SinogramDataConfig(DataConfig):
    """Measured sinograms, whose ground truth is not known; geometry and noise describe them."""

    name: str = "sinogram"
    path: str
    """A file, or a folder of files, of sinograms (angles, detectors) or stacks of them, of the same
    kinds as with data.name=folder."""
    key: str | None = None
    """Name of the array in each .npz or HDF5 file; null: the only one of 2 or 3 dimensions."""
    count: int | None = bounded(None, ">= 1")
    """Sinograms, the first ones; null: all."""
    white: float = bounded(1.0, "> 0")
    """Value of the image, such as attenuation per geometry.unit, that becomes 1."""
    water: float | None = bounded(None, "> 0")
    """Attenuation of water per geometry.unit, in place of data.white, with a prior in HU."""
    flat: str | None = None
    """What the detector counts without object, so that counts are read and -log is taken: a number,
    a file or folder, or the name of an array in the files of data.path; (frames, detectors), one
    for all sinograms or one for each; null: line integrals are read."""
    dark: str | None = None
    """What it counts without beam, likewise; null: 0."""
    least_transmission: float = bounded(1e-4, "> 0, < 1")
    """Transmission, (counts - dark) / (flat - dark), that lower ones are raised to."""
    truth: str | None = None
    """The images, in the unit of data.white, for PSNR and SSIM: a file or folder, or the name of an
    array in the files of data.path; null: not known."""
    attributes: bool = True
    """Whether to read what the files say of the geometry."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.white != 1 and self.water is not None:
            raise FieldError(self, "water", "expected data.white or data.water, got both")
        if self.dark is not None and self.flat is None:
            raise FieldError(self, "dark", "expected data.flat beside it, got null")


_ANGLES = 60
_DEGREES = ">= -3600, <= 3600"
MOST_RAYS = 100_000
"""Of angles, and of detector bins: far beyond any scanner, but a sinogram still fits memory."""


@dataclass(kw_only=True)
class GeometryConfig(Section):
    """Parallel-beam geometry; with data.name=sinogram, what files say stands in for null."""

    angles: int | None = bounded(None, f">= 1, <= {MOST_RAYS}")
    """Projection angles, at the midpoints of equal parts of half a turn, or as geometry.arc says;
    null: 60."""
    arc: list[float] | None = field(default=None, metadata=within(_DEGREES))
    """[START,STOP] in degrees: geometry.angles angles, START the first, evenly spaced, STOP the one
    after the last."""
    degrees: list[float] | None = field(default=None, metadata=within(_DEGREES))
    """The projection angles themselves, [FIRST,...], in place of geometry.angles; 0 projects along
    columns, and they turn counterclockwise."""
    detector_count: int | None = bounded(None, f">= 1, <= {MOST_RAYS}")
    """Detector bins; null: as many as cover the diagonal of the image."""
    detector_spacing: float | None = bounded(None, "> 0")
    """Width of a detector bin, in geometry.unit; null: the bins cover the diagonal."""
    detector_offset: float | None = None
    """Where the centre of rotation is seen: distance from the middle of the detector, in
    geometry.unit, positive towards the last bin; null: 0."""
    find_offset: bool = False
    """Whether to estimate detector_offset from the sinograms, whatever files say; needs
    data.name=sinogram."""
    pixel_size: float | None = bounded(None, "> 0")
    """Width of a pixel, in geometry.unit; null: 1."""
    unit: str | None = None
    """Name of the length unit, such as mm; null: pixel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.degrees is not None and not 1 <= len(self.degrees) <= MOST_RAYS:
            message = f"expected 1 to {MOST_RAYS} angles, got {len(self.degrees)}"
            raise FieldError(self, "degrees", message)
        if self.degrees is not None and self.angles not in (None, len(self.degrees)):
            message = f"expected {len(self.degrees)}, as many as geometry.degrees, or nothing"
            raise FieldError(self, "angles", f"{message}, got {self.angles}")
        if self.arc is not None and (len(self.arc) != 2 or self.arc[0] == self.arc[1]):
            raise FieldError(self, "arc", f"expected two ends, [START,STOP], got {self.arc}")
        if self.arc is not None and self.degrees is not None:
            raise FieldError(self, "arc", "expected no geometry.degrees beside it, got both")
        if self.find_offset and self.detector_offset is not None:
            raise FieldError(
                self, "find_offset", "expected no geometry.detector_offset beside it, got both"
            )

    @property
    def lengths(self) -> tuple[float, str]:
        """Size of a pixel, and the name of the length unit."""
        return self.pixel_size or 1.0, self.unit or "pixel"

    @property
    def given_degrees(self) -> list[float] | None:
        """The angles that the settings ask for, in degrees; None if they ask for none."""
        if self.degrees is not None:
            return self.degrees
        if self.angles is None and self.arc is None:
            return None
        count = self.angles or _ANGLES
        start, stop = self.arc or (90 / count, 180 + 90 / count)
        return [start + (stop - start) * n / count for n in range(count)]

    def filled(self) -> "GeometryConfig":
        """The settings with their defaults in place of null, save the detector's."""
        angles = _ANGLES if self.degrees is None else len(self.degrees)
        size, unit = self.lengths
        return replace(
            self,
            angles=angles if self.angles is None else self.angles,
            detector_offset=self.detector_offset or (None if self.find_offset else 0.0),
            pixel_size=size,
            unit=unit,
        )


@dataclass(kw_only=True)
class OperatorConfig(Section):
    """Who computes projections; all of them by the same convention, with an exact adjoint."""

    backend: Literal["auto", "native", "astra", "torch_radon", "deepinv"] = "auto"
    """auto: native; astra: ASTRA's CPU kernels as a matrix, on any device; torch_radon: needs
    device=cuda; deepinv: needs bins as wide as pixels."""
    kernel: Literal["line", "linear", "strip"] = "linear"
    """astra: length of the ray in a pixel; Joseph's interpolation, as native; share of the strip
    between the bin's edges."""

    @property
    def resolved(self) -> Literal["native", "astra", "torch_radon", "deepinv"]:
        """What auto stands for, or the backend asked for."""
        return "native" if self.backend == "auto" else self.backend


DEFAULT_NOISE = 0.1
"""Relative level of simulated noise, as in Section 4.2 of arXiv 2404.18699."""


@dataclass(kw_only=True)
class NoiseConfig(Section):
    """Gaussian measurement noise: that which is added, or with data.name=sinogram is there."""

    relative: float | None = bounded(None, ">= 0, <= 1000000")
    """Standard deviation as a part of the mean absolute value of each sinogram; null: 0.1, or with
    data.name=sinogram estimated from the sinograms."""
    absolute: float | None = bounded(None, f">= 0, <= {10**12}")
    """Standard deviation in sinogram units; replaces noise.relative unless null."""
    weights: Literal["uniform", "transmission"] = "uniform"
    """uniform: as large everywhere, weighting all rays alike; transmission: of photons that are
    counted, with the variance inverse to what came through, by which rays are weighted (mean 1; the
    level is that of weight 1). Needs data.name=sinogram."""
    seed: int | None = bounded(None, SEEDS)
    """Seed of the noise; null: derived from seed."""

    @property
    def level(self) -> float | None:
        """The level in force: zero means that the measurements are exact, None is not known yet."""
        return self.relative if self.absolute is None else self.absolute


@dataclass(kw_only=True)
class AlphaConfig(Section):
    """Weight alpha of the regulariser."""

    rule: Literal["auto", "discrepancy", "constant", "noise_scale"] = "auto"
    """auto: from the noise level; discrepancy: as auto, then times a factor for each image such
    that |Ax-y| = tau sigma_y sqrt(m) for m measurements; constant: alpha; noise_scale: alpha nu_t /
    gamma_t."""
    value: float | None = bounded(None, "> 0")
    """constant, noise_scale: alpha (required); auto, discrepancy: factor of the squared noise
    level, null: 0.5; maximum a posteriori estimation asks for 1."""
    tau: float = bounded(1.0, "> 0")
    """discrepancy: |Ax-y| in units of the noise; x is the last iterate."""
    tolerance: float = bounded(0.01, "> 0, < 1")
    """discrepancy: relative, of |Ax-y|."""
    tries: int = bounded(20, ">= 1")
    """discrepancy: weights tried at most; each goes on from the last iterate, at t_min, with a
    quarter of solver.steps."""
    sweep: list[float] = field(default_factory=list[float], metadata=within("> 0"))
    """Other values, such as [0.1,0.2,1,2], that the solver reconstructs with besides: results of
    their own, and PSNR and |Ax-y| over the weight in figures/alpha.png."""
    gain: float | None = bounded(None, ">= 0")
    """auto: how fast alpha grows with the smoothing: what is added to the squared noise level, in
    units of nu_t^2 times the mean diagonal entry of A*A; null: 1 with solver.name=preconditioned,
    5 with the others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value is None and not self.from_noise:
            raise FieldError(self, "value", f"expected a number with rule={self.rule}, got null")
        if self.sweep and self.rule == "discrepancy":
            message = "expected none with rule=discrepancy, which finds a weight for each image"
            raise FieldError(self, "sweep", f"{message}, got {self.sweep}")
        if len({self.weight, *self.sweep}) <= len(self.sweep):
            message = f"expected values other than alpha.value={self.weight} and each other"
            raise FieldError(self, "sweep", f"{message}, got {self.sweep}")

    @property
    def from_noise(self) -> bool:
        """Whether the weight follows the noise level."""
        return self.rule in ("auto", "discrepancy")

    @property
    def weight(self) -> float:
        """`value`, or for rules that follow the noise its default, best on validation phantoms."""
        return 0.5 if self.value is None else self.value


@dataclass(kw_only=True)
class CertificateConfig(Section):
    """What a run checks about itself, for certificate.json."""

    level: Literal["basic", "full"] = "basic"
    """basic: what follows from the trace, for nothing; full: also whether the prior's score is a
    gradient, and the curvature of R at the reconstructions: some 350 prior evaluations each."""


@dataclass(kw_only=True)
class ReconstructConfig(Section):
    """Reconstruct images from sparse-view, noisy projections, simulated or measured."""

    output: str | None = None
    """Run folder; null: a new one below runs/, named by date and time."""
    overwrite: bool = False
    """Whether what a run folder holds may be replaced; without it an unfinished run of the same
    settings is gone on with, and anything else is refused."""
    seed: int = bounded(0, SEEDS)
    """Seed that noise and starts are derived from."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: cuda if there is one, else cpu."""
    devices: int = bounded(1, ">= 1, <= 1024")
    """Processes that share the images, each with a GPU of its own where there are any; torchrun
    may start them in its place, on several machines too."""
    batch_size: int | str = bounded("auto", ">= 1")
    """Images, or with starts above 1 starts of images, reconstructed together; auto: as many as fit
    into memory, at most 8 on CPUs, 64 on GPUs. Where memory runs out half as many go on."""
    chunk_size: int | None = bounded(None, ">= 1")
    """Images that are kept together as soon as all of them are finished; as some stop, others take
    their places in the batch. null: as many as a batch has, or four times that if
    solver.gradient_tolerance lets images stop early."""
    methods: list[Baseline] = field(default_factory=lambda: ["fbp", "tv"])
    """Methods to compare the solver with, in this order (docs/baselines.md)."""
    start: Literal["random", "fbp"] = "random"
    """Where the solver starts: N(0, I), or the filtered back-projection."""
    start_seed: int | None = bounded(None, SEEDS)
    """Seed of random starts; null: derived from seed."""
    starts: int = bounded(1, ">= 1, <= 1000")
    """Random starts of each image, in one batch; from 2 on their mean is a result too, with maps of
    their standard deviation and of A x - y."""
    progress: bool = True
    """Whether to show a progress bar."""
    output_dicom: bool = False
    """Whether reconstructions are written as DICOM series too; for data.name=ldct."""
    output_nifti: bool = False
    """Whether they are written as NIfTI volumes too, likewise; needs nibabel."""
    live_table: bool = False
    """Whether to show the images under way below the bar, on a terminal."""
    prior: PriorSourceConfig = field(default_factory=PriorSourceConfig)
    data: DataConfig = field(
        default_factory=DemoDataConfig,
        metadata=one_of(
            DemoDataConfig,
            EllipsesDataConfig,
            FolderDataConfig,
            LDCTDataConfig,
            SinogramDataConfig,
        ),
    )
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    operator: OperatorConfig = field(default_factory=OperatorConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    alpha: AlphaConfig = field(default_factory=AlphaConfig)
    solver: SolverConfig = field(
        default_factory=PreconditionedConfig,
        metadata=one_of(
            PreconditionedConfig, GradientLikeConfig, GNCFlowConfig, GradientDescentConfig
        ),
    )
    fbp: FBPConfig = field(default_factory=FBPConfig)
    tv: TVConfig = field(default_factory=TVConfig)
    tikhonov: TikhonovConfig = field(default_factory=TikhonovConfig)
    plug_and_play: PlugAndPlayConfig = field(default_factory=PlugAndPlayConfig)
    diffpir: DiffPIRConfig = field(default_factory=DiffPIRConfig)
    dds: DDSConfig = field(default_factory=DDSConfig)
    dps: DPSConfig = field(default_factory=DPSConfig)
    nmapg: NmAPGConfig = field(default_factory=NmAPGConfig)
    gradient_descent: OnObjectiveConfig = field(default_factory=OnObjectiveConfig)
    certificate: CertificateConfig = field(default_factory=CertificateConfig)
    logger: ImageLoggerConfig = field(default_factory=ImageLoggerConfig)

    @property
    def images_at_once(self) -> int:
        """Images of a batch; all starts of an image are in one."""
        return max(1, self.rows_at_once // self.starts)

    @property
    def rows_at_once(self) -> int:
        """`batch_size`, once it is known."""
        assert isinstance(self.batch_size, int)
        return self.batch_size

    @property
    def images_of_chunk(self) -> int:
        """`chunk_size`, or what stands for it where it is not given."""
        if self.chunk_size is not None:
            return self.chunk_size
        return self.images_at_once * (4 if self.solver.gradient_tolerance > 0 else 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.batch_size, str) and self.batch_size != "auto":
            message = f"expected auto or a number of images, got {self.batch_size!r}"
            raise FieldError(self, "batch_size", message)
        for name in ("output_dicom", "output_nifti"):
            if getattr(self, name) and not isinstance(self.data, LDCTDataConfig):
                message = (
                    f"expected false with data.name={self.data.name}, which is no DICOM series"
                )
                raise FieldError(self, name, message)
        if self.starts > 1 and self.start != "random":
            message = f"expected 1 with start={self.start}, which is the same each time"
            raise FieldError(self, "starts", f"{message}, got {self.starts}: give start=random")
        if self.solver.name in self.methods:
            message = f"expected methods other than the solver, got {self.solver.name}"
            raise FieldError(self, "methods", f"{message}: leave it out")
        measured = isinstance(self.data, SinogramDataConfig)
        if self.noise.level is None and not measured:
            self.noise = replace(self.noise, relative=DEFAULT_NOISE)
        if not measured:
            if self.geometry.find_offset:
                raise UserError(
                    "geometry.find_offset=true is for measured sinograms, data.name=sinogram, got "
                    f"data.name={self.data.name}: leave it out"
                )
            if self.noise.weights != "uniform":
                raise UserError(
                    f"noise.weights={self.noise.weights} is for measured sinograms, "
                    f"data.name=sinogram, got data.name={self.data.name}: leave it out"
                )
            self.geometry = self.geometry.filled()
        # Otherwise the size of the noise beside the data is not known until there are data.
        known = self.noise.absolute is None and self.noise.relative is not None
        if self.solver.t_min is None and known:
            assert self.noise.relative is not None
            self.solver = replace(self.solver, t_min=self.solver.time_for(self.noise.relative))
        if self.alpha.from_noise and self.noise.level == 0:
            raise UserError(
                f"alpha.rule={self.alpha.rule} derives the weight from the noise level, which is "
                "0: give alpha.rule=constant alpha.value=NUMBER, or some noise"
            )
