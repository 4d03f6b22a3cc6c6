"""Finished batches as bytes and back, to the last bit: safetensors, without pickles.

Tensors go into the file as they are; what holds them, and all else, into its header as JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from gnclightning.diagnostics import FullInspection, Inspection
from gnclightning.reconstruction.records import (
    BatchResult,
    MeasuredBatch,
    MethodResult,
    MetricsRow,
    TraceRow,
)
from gnclightning.solvers import Certificate

_KINDS = (BatchResult, MeasuredBatch, MethodResult, Certificate, Inspection, FullInspection)
_ROWS = (MetricsRow, TraceRow)
_BY_NAME: dict[str, Any] = {kind.__name__: kind for kind in (*_KINDS, *_ROWS)}
_KIND, _TENSOR, _ROWS_OF, _TUPLE = "kind", "tensor", "rows_of", "tuple"


def to_bytes(result: BatchResult) -> bytes:
    """Encode a finished batch."""
    tensors: dict[str, Tensor] = {}
    structure = _pack(result, tensors)
    return save(tensors, metadata={"structure": json.dumps(structure)})


def from_bytes(data: bytes) -> BatchResult:
    """Decode what `to_bytes` made; anything else may raise anything."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    structure = json.loads(header["__metadata__"]["structure"])
    return _unpack(structure, load(data))


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()  # memory of its own
        return {_TENSOR: name}
    if is_dataclass(value):
        parts = {entry.name: _pack(getattr(value, entry.name), tensors) for entry in fields(value)}
        return {_KIND: type(value).__name__, "parts": parts}
    if isinstance(value, list) and value and isinstance(value[0], _ROWS):
        # The names of the columns once, not in each row.
        return {_ROWS_OF: type(value[0]).__name__, "rows": [list(row) for row in value]}
    if isinstance(value, Mapping):
        return {"mapping": {key: _pack(inner, tensors) for key, inner in value.items()}}
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(inner, tensors) for inner in value]}
    if isinstance(value, list):
        return [_pack(inner, tensors) for inner in value]
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(inner, tensors) for inner in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _ROWS_OF in value:
        return [_BY_NAME[value[_ROWS_OF]](*row) for row in value["rows"]]
    if _TUPLE in value:
        return tuple(_unpack(inner, tensors) for inner in value[_TUPLE])
    if _KIND in value:
        parts = {name: _unpack(inner, tensors) for name, inner in value["parts"].items()}
        return _BY_NAME[value[_KIND]](**parts)
    return {key: _unpack(inner, tensors) for key, inner in value["mapping"].items()}
