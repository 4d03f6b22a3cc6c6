"""From a `PhantomsConfig` to a file of phantoms."""

from pathlib import Path

from gnclightning.config.phantoms import PhantomsConfig
from gnclightning.data.ellipses_file import PhantomSet, save_phantoms
from gnclightning.errors import UserError
from gnclightning.memory import check_memory


def run_phantoms(config: PhantomsConfig) -> None:
    """Write phantoms as configured; prints their checksum.

    Raises:
        UserError: the file exists, or there are no such phantoms.
        OSError: the file cannot be written.
    """
    path = Path(config.path)
    if path.exists():
        raise UserError(f"expected a new file, got {path}, which exists: name another")
    what = f"{config.count} images of {config.size}x{config.size} pixels (count, size)"
    check_memory(3 * config.count * config.size**2 * 4, what)
    path.parent.mkdir(parents=True, exist_ok=True)
    which = PhantomSet(config.count, config.size, config.split, config.start, config.seed)
    checksum = save_phantoms(path, which)
    print(f"{path}: {which}, SHA-256 of the contents {checksum}")
