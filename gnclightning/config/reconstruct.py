"""The schema of a reconstruction. Equations are those of arXiv 2404.18699."""

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from gnclightning.config.baselines import (
    Compared,
    DDSConfig,
    DiffPIRConfig,
    DPSConfig,
    FBPConfig,
    LangevinConfig,
    NmAPGConfig,
    OnObjectiveConfig,
    PlugAndPlayConfig,
    TikhonovConfig,
    TVConfig,
)
from gnclightning.config.common import SEEDS, ImageLoggerConfig
from gnclightning.config.geometry import GeometryConfig
from gnclightning.config.images import (
    DataConfig,
    DemoDataConfig,
    EllipsesDataConfig,
    FolderDataConfig,
    LDCTDataConfig,
    SinogramDataConfig,
    UnseenDataConfig,
)
from gnclightning.config.objective import DEFAULT_NOISE, AlphaConfig, NoiseConfig
from gnclightning.config.operator import (
    BlurConfig,
    FourierConfig,
    IdentityConfig,
    MaskConfig,
    OperatorConfig,
    ProjectionConfig,
    SuperResolutionConfig,
)
from gnclightning.config.sections import FieldError, Section, bounded, one_of
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
class CertificateConfig(Section):
    """What a run checks about itself, for certificate.json."""

    level: Literal["basic", "full"] = "basic"
    """basic: what follows from the trace, for nothing, and of a score whether it is a gradient;
    full: also whether an energy's is, and the curvature of R at the reconstructions: some 350 prior
    evaluations each."""


@dataclass(kw_only=True)
class ReconstructConfig(Section):
    """Reconstruct images from noisy projections, or from other linear measurements."""

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
    methods: list[Compared] = field(default_factory=lambda: ["direct", "tv"])
    """Methods to compare the solver with, in this order (docs/baselines.md); direct: the direct
    reconstruction of the problem, for projections fbp (docs/problems.md)."""
    start: Literal["random", "fbp", "direct"] = "random"
    """Where the solver starts: N(0, I), or the direct reconstruction of the problem, for
    projections fbp."""
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
            UnseenDataConfig,
            FolderDataConfig,
            LDCTDataConfig,
            SinogramDataConfig,
        ),
    )
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    operator: OperatorConfig = field(
        default_factory=ProjectionConfig,
        metadata=one_of(
            ProjectionConfig,
            IdentityConfig,
            MaskConfig,
            BlurConfig,
            SuperResolutionConfig,
            FourierConfig,
        ),
    )
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
    langevin: LangevinConfig = field(default_factory=LangevinConfig)
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
        if isinstance(self.operator, ProjectionConfig):
            self.methods = ["fbp" if name == "direct" else name for name in self.methods]
            self.start = "fbp" if self.start == "direct" else self.start
        if self.solver.name in self.methods:
            message = f"expected methods other than the solver, got {self.solver.name}"
            raise FieldError(self, "methods", f"{message}: leave it out")
        if not isinstance(self.data, SinogramDataConfig):
            self._simulate()
        if not isinstance(self.operator, ProjectionConfig):
            self._check_without_projections()
        # Otherwise the size of the noise beside the data is not known until there are data.
        known = self.noise.absolute is None and self.noise.relative is not None
        projects = isinstance(self.operator, ProjectionConfig)
        if self.solver.t_min is None and known and projects:
            assert self.noise.relative is not None
            self.solver = replace(self.solver, t_min=self.solver.time_for(self.noise.relative))
        if self.alpha.from_noise and self.noise.level == 0:
            raise UserError(
                f"alpha.rule={self.alpha.rule} derives the weight from the noise level, which is "
                "0: give alpha.rule=constant alpha.value=NUMBER, or some noise"
            )

    def _simulate(self) -> None:
        """Fill in what measured sinograms would say; refuse what is for these alone."""
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
        projects = isinstance(self.operator, ProjectionConfig)
        if self.noise.level is None:
            level = {"relative": DEFAULT_NOISE} if projects else {"absolute": self.operator.noise}
            self.noise = replace(self.noise, **level)
        if projects:
            self.geometry = self.geometry.filled()

    def _check_without_projections(self) -> None:
        """Refuse what is about projections."""
        for name, given in (("methods", self.methods), ("start", [self.start])):
            if "fbp" in given:
                message = "expected direct, the direct reconstruction, with operator.name="
                raise FieldError(self, name, f"{message}{self.operator.name}, got fbp")
        if isinstance(self.data, SinogramDataConfig):
            raise UserError(
                f"data.name=sinogram holds projections, got operator.name={self.operator.name}: "
                "give images to measure, or leave operator.name out"
            )
        plain = GeometryConfig()
        given = [f.name for f in fields(plain) if getattr(self.geometry, f.name) != f.default]
        if given:
            raise UserError(
                f"geometry.{given[0]} is a setting of projections, got operator.name="
                f"{self.operator.name}: leave it out"
            )
