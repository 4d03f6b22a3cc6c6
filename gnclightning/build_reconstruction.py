"""From a `ReconstructConfig` to a run folder: checks and builds everything, then runs it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from math import ceil, hypot
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from gnclightning.config import ReconstructConfig, save
from gnclightning.config.reconstruct import (
    AlphaConfig,
    DemoDataConfig,
    EllipsesDataConfig,
    FolderDataConfig,
    GeometryConfig,
)
from gnclightning.config.solver import (
    FirstOrderConfig,
    GNCFlowConfig,
    GradientDescentConfig,
    GradientLikeConfig,
    GraduatedConfig,
    PreconditionedConfig,
    SolverConfig,
)
from gnclightning.data.ellipses import phantoms
from gnclightning.data.folder import read_images
from gnclightning.data.images import ImageSet
from gnclightning.data.samples import demo_images
from gnclightning.errors import UserError
from gnclightning.objectives import Alpha
from gnclightning.operators import ParallelBeam2D, Radon
from gnclightning.priors import NetworkEnergy, PriorMetadata, ScaledPrior, load_prior
from gnclightning.reconstruction import methods
from gnclightning.reconstruction.files import replacing
from gnclightning.reconstruction.folder import CONFIG, choose_folder, create_folder
from gnclightning.reconstruction.measurement import Scanner
from gnclightning.reconstruction.progress import ProgressBar
from gnclightning.reconstruction.runner import Observer, run
from gnclightning.reconstruction.table import FinalTable
from gnclightning.reconstruction.tracking import Tracking, open_logger
from gnclightning.reconstruction.writers import RunFolder, Units, estimate_size
from gnclightning.sde import SDE
from gnclightning.solvers import (
    Armijo,
    BarzilaiBorweinFirstStep,
    ConstantStep,
    FixedFirstStep,
    Solver,
    gnc_flow,
    gradient_descent,
    gradient_like,
    linear_schedule,
    log_schedule,
    preconditioned,
)
from gnclightning.tracking import logged_in
