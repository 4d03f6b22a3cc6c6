"""Files that are never seen half-written: made beside their place, then moved there at once."""

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, which takes the place of `path` if all goes well."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())  # what a plain `open` would give; mkstemp gives 0600
    try:
        yield Path(name)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows below a header; floats to their last digit, NaN as nothing."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in rows)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON; what is not finite becomes null, for which JSON has no number."""
    text = json.dumps(finite(values), indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """A value fit for JSON: numbers in it that are not finite become None."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_hdf5(
    path: Path,
    arrays: Mapping[str, NDArray[np.float32]],
    units: Mapping[str, str],
    attributes: Mapping[str, Any],
) -> None:
    """Write data sets, each with its unit as attribute `unit`, and attributes of the whole file."""
    # In memory first: on a full disk HDF5 fails in ways that may end the process.
    buffer = io.BytesIO()
    # The format of HDF5 1.8 (2008) is the first whose attributes may exceed 64 KiB: many names.
    with h5py.File(buffer, "w", libver="v108") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["unit"] = units[name]
        file.attrs.update(attributes)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value
