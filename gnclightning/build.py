"""The only place that turns configuration into objects; imported by the command line."""

from gnclightning.config import InspectConfig, PhantomsConfig, ReconstructConfig, TrainConfig


def run_training(config: TrainConfig) -> None:
    """See `build_training.run_training`."""
    from gnclightning import build_training

    build_training.run_training(config)


def run_reconstruction(config: ReconstructConfig, dry_run: bool = False) -> None:
    """See `build_run.run_reconstruction`."""
    from gnclightning import build_run

    build_run.run_reconstruction(config, dry_run)


def run_inspection(config: InspectConfig) -> None:
    """See `build_inspection.run_inspection`."""
    from gnclightning import build_inspection

    build_inspection.run_inspection(config)


def run_phantoms(config: PhantomsConfig) -> None:
    """See `build_phantoms.run_phantoms`."""
    from gnclightning import build_phantoms

    build_phantoms.run_phantoms(config)
