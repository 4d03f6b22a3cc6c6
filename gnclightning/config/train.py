"""The schema of a training run."""

import re
from dataclasses import dataclass, field
from typing import Literal

from gnclightning.config.common import SEEDS, LoggerConfig
from gnclightning.config.folder import FolderConfig
from gnclightning.config.ldct import LDCTConfig
from gnclightning.config.sections import FieldError, Section, bounded, one_of, within


@dataclass(kw_only=True)
class SDEConfig(Section):
    """The forward diffusion."""

    name: str
    """Which diffusion."""


@dataclass(kw_only=True)
class VPConfig(SDEConfig):
    """Variance preserving."""

    name: str = "vp"
    beta_min: float = bounded(0.1, "> 0")
    """beta(0)."""
    beta_max: float = bounded(20.0, "> 0")
    """beta(1)."""


@dataclass(kw_only=True)
class VEConfig(SDEConfig):
    """Variance exploding."""

    name: str = "ve"
    sigma_min: float = bounded(0.01, "> 0")
    """Scale of the noise at small t."""
    sigma_max: float = bounded(50.0, "> 0")
    """Noise at t = 1."""


@dataclass(kw_only=True)
class NetworkConfig(Section):
    """The time-conditional U-Net; images are multiples of unshuffle * 2^(levels - 1)."""

    channels: int = bounded(32, ">= 8")
    """Width of the finest level, a multiple of 8."""
    multipliers: list[int] = field(default_factory=lambda: [1, 2, 4, 4], metadata=within(">= 1"))
    """Width of each level as a multiple of channels."""
    blocks: list[int] = field(default_factory=lambda: [1, 1, 1, 1], metadata=within(">= 1"))
    """Residual blocks of each level, on the way down and again on the way up."""
    unshuffle: int = bounded(2, ">= 1")
    """Factor of the pixel unshuffling before the U-Net: 2 is four times cheaper than 1."""
    shell: int = bounded(16, ">= 1")
    """Width of the convolutions at full resolution, before and after the U-Net."""
    embedding: int = bounded(128, ">= 2")
    """Width of the noise-level embedding."""
    normalisation: Literal["group", "rms"] = "group"
    """Of features: group, over the pixels of a group of channels (GroupNorm); rms, over the
    channels of a pixel (RMSNorm)."""
    attention: bool = False
    """Whether the pixels of the lowest level attend to each other."""


@dataclass(kw_only=True)
class PriorConfig(Section):
    """What the network stands for."""

    parametrisation: str
    """Which quantity."""
    form: Literal["paper", "scaled", "gradient_step"] = "paper"
    """What the network gives, for the energy 1/2 |h|^2: paper h; scaled nu_t^(1/2) h;
    gradient_step the denoised image D in h = (x - gamma_t D) / nu_t. A score takes the form of the
    energy which will start from it."""


@dataclass(kw_only=True)
class ScorePriorConfig(PriorConfig):
    """The network gives the score."""

    parametrisation: str = "score"


@dataclass(kw_only=True)
class EnergyPriorConfig(PriorConfig):
    """The network gives an energy, whose gradient is the score."""

    parametrisation: str = "energy"


@dataclass(kw_only=True)
class TrainDataConfig(Section):
    """Training images."""

    name: str
    """Where the images come from."""
    workers: int = bounded(0, ">= 0")
    """Processes that prepare images; 0: the training process itself."""


@dataclass(kw_only=True)
class EllipsesTrainDataConfig(TrainDataConfig):
    """ELLIPSES phantoms, generated on the fly."""

    name: str = "ellipses"
    size: int = bounded(128, ">= 3")
    """Height and width of an image, in pixels."""
    train_count: int = bounded(16_000, ">= 1")
    """Phantoms per epoch; every epoch brings new ones."""
    validation_count: int = bounded(128, ">= 1")
    """Phantoms of the validation set."""
    seed: int = bounded(0, SEEDS)
    """Seed of the phantoms; training, validation and test phantoms never overlap."""


@dataclass(kw_only=True)
class FolderTrainDataConfig(FolderConfig, TrainDataConfig):
    """Images in own files, mapped to [0,1]."""

    validation_fraction: float = bounded(0.1, "> 0, < 1")
    """Part of the images, the last ones, kept for validation."""
    pixel_size: float = bounded(1.0, "> 0")
    """Width of a pixel, in data.unit; kept with the weights."""
    unit: str = "pixel"
    """Name of the length unit, such as mm; kept with the weights."""
    intensity_unit: str = "arbitrary"
    """Name of the unit of the values in the files; kept with the weights, as is data.range."""


@dataclass(kw_only=True)
class LDCTTrainDataConfig(LDCTConfig, TrainDataConfig):
    """CT series in DICOM files, such as the LDCT-and-Projection-data collection of TCIA."""

    validation_count: int | None = bounded(64, ">= 1")
    """Slices to validate on, evenly spaced among those of the validation patients; null: all."""


@dataclass(kw_only=True)
class OptimizerConfig(Section):
    """Muon for hidden weight matrices, Adam for the rest; linear warm-up, then a cosine to zero."""

    batch_size: int = bounded(8, ">= 1")
    """Images per step and device."""
    matrix_lr: float = bounded(0.02, "> 0")
    """Largest learning rate of Muon."""
    lr: float = bounded(1e-3, "> 0")
    """Largest learning rate of Adam."""
    warmup_steps: int = bounded(100, ">= 0")
    """Steps of the warm-up; the cosine ends at trainer.max_steps."""
    gradient_clip: float = bounded(1.0, ">= 0")
    """Largest norm of the gradient; 0: no clipping."""


@dataclass(kw_only=True)
class TimeSamplingConfig(Section):
    """Times of denoising, stratified over the batch."""

    name: str
    """Which distribution."""
    t_min: float = bounded(1e-5, "> 0, < 1")
    """Smallest time."""
    excess_share: float = bounded(0.5, ">= 0, < 1")
    """Share of images with more noise than level t: they make the energy grow away from the data,
    which line searches rely on; 0 is plain denoising score matching."""
    weighting: Literal["noise", "min_snr"] = "noise"
    """Weight of a level in the loss: noise 1, for the error of the noise, as in the paper; min_snr
    min(1, 5 nu_t^2 / gamma_t^2), less for small noise."""


@dataclass(kw_only=True)
class PowerTimesConfig(TimeSamplingConfig):
    """Times t_min + (1 - t_min) u^skew with u uniform."""

    name: str = "power"
    skew: float = bounded(3.0, "> 0")
    """Exponent: 1 is uniform in t, more favours small t."""


@dataclass(kw_only=True)
class LognormalTimesConfig(TimeSamplingConfig):
    """Times whose noise-to-signal ratio is lognormal: the middle levels, which decide images."""

    name: str = "lognormal"
    median: float = bounded(0.15, "> 0")
    """Median of the ratio nu_t / gamma_t."""
    spread: float = bounded(1.2, "> 0")
    """Standard deviation of its logarithm."""


@dataclass(kw_only=True)
class LogUniformTimesConfig(TimeSamplingConfig):
    """Times whose noise-to-signal ratio is log-uniform between those of t_min and 1."""

    name: str = "loguniform"


@dataclass(kw_only=True)
class EMAConfig(Section):
    """Moving average of the weights, which validation and the shipped prior use."""

    decay: float = bounded(0.999, ">= 0, < 1")
    """Part that stays at each step, at most (1 + n) / (10 + n) after n steps; 0: no averaging."""
    alternatives: list[float] = field(default_factory=list[float], metadata=within(">= 0, < 1"))
    """Further decays, such as [0,0.99]: after training, the weights of all decays reconstruct
    validation images (reconstruction.*), and the best are shipped; 0: the weights themselves."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({self.decay, *self.alternatives}) <= len(self.alternatives):
            raise FieldError(
                self,
                "alternatives",
                f"expected decays other than ema.decay={self.decay} and each other, got "
                f"{self.alternatives}",
            )


@dataclass(kw_only=True)
class TrainerConfig(Section):
    """Arguments of Lightning's Trainer."""

    max_steps: int = bounded(20_000, ">= 1")
    """Optimizer steps."""
    max_time: str | None = None
    """Time after which training stops, DD:HH:MM:SS; null: no limit."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to compute."""
    devices: int | str = "auto"
    """Number of devices per node, auto, or a list such as 0,2."""
    num_nodes: int = bounded(1, ">= 1")
    """Nodes."""
    strategy: str = "auto"
    """Strategy for several devices: auto or ddp; those that cut weights into pieces, such as fsdp,
    cannot be used."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Precision of the network."""
    accumulate_grad_batches: int = bounded(1, ">= 1")
    """Batches whose gradients make one optimizer step. A training goes on with other devices, batch
    size and number of batches as it would have, if a step has as many images as before."""
    log_every_n_steps: int = bounded(20, ">= 1")
    """Steps between two logged values."""
    val_check_interval: int = bounded(1000, ">= 1")
    """Training batches between two validations."""
    checkpoint_every_n_steps: int = bounded(500, ">= 1")
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_time is not None and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", self.max_time):
            raise FieldError(self, "max_time", f"expected DD:HH:MM:SS, got {self.max_time!r}")


@dataclass(kw_only=True)
class ValidationReconstructionConfig(Section):
    """Reconstruction of a few validation images, during training and to choose among averages."""

    every_n_steps: int = bounded(2000, ">= 0")
    """Steps between two reconstructions; 0: never."""
    count: int = bounded(4, ">= 1")
    """Images."""
    steps: int = bounded(20, ">= 1")
    """Iterations of the preconditioned solver."""


@dataclass(kw_only=True)
class TrainConfig(Section):
    """Train a diffusion prior by denoising score matching."""

    output: str = "runs/train"
    """Run folder: checkpoints, logs, weights."""
    resume: bool = True
    """Whether to go on from the last checkpoint of the run folder, if there is one."""
    init: str | None = None
    """Weights to start from: for an energy a score's, prior.safetensors of its run folder; null:
    random ones."""
    teacher: str | None = None
    """Weights of a score that is learnt in place of the noise (distillation); null: the noise."""
    seed: int = bounded(0, SEEDS)
    """Seed of weights, times and noise."""
    progress: bool = True
    """Whether to show a progress bar."""
    sde: SDEConfig = field(default_factory=VPConfig, metadata=one_of(VPConfig, VEConfig))
    network: NetworkConfig = field(default_factory=NetworkConfig)
    prior: PriorConfig = field(
        default_factory=ScorePriorConfig,
        metadata=one_of(ScorePriorConfig, EnergyPriorConfig, key="parametrisation"),
    )
    data: TrainDataConfig = field(
        default_factory=EllipsesTrainDataConfig,
        metadata=one_of(EllipsesTrainDataConfig, FolderTrainDataConfig, LDCTTrainDataConfig),
    )
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    time_sampling: TimeSamplingConfig = field(
        default_factory=PowerTimesConfig,
        metadata=one_of(PowerTimesConfig, LognormalTimesConfig, LogUniformTimesConfig),
    )
    ema: EMAConfig = field(default_factory=EMAConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    reconstruction: ValidationReconstructionConfig = field(
        default_factory=ValidationReconstructionConfig
    )
    logger: LoggerConfig = field(default_factory=LoggerConfig)
