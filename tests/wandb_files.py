"""Reads back what an offline W&B run left on the disk."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

_FILE_HEADER, _BLOCK, _HEADER = 7, 2**15, struct.Struct("<IHB")
_WHOLE, _LAST = 1, 4


def records(path: Path) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, after W&B's header of 7 bytes.

    Blocks of 32 KiB hold fragments, each behind its checksum, length and kind; what is left at a
    block's end is too short for a fragment's header.
    """
    data, position, record = path.read_bytes(), _FILE_HEADER, b""
    while position + _HEADER.size <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER.size:
            position += left
            continue
        _, length, kind = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        record += data[position : position + length]
        position += length
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""


class Logged:
    """What a run folder's W&B file holds."""

    def __init__(self, folder: Path):
        from wandb.proto.wandb_internal_pb2 import Record

        (path,) = folder.glob("wandb/offline-run-*/*.wandb")
        # W&B writes from a process of its own, which may be behind.
        deadline = time.monotonic() + 20
        while not _complete(path) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.history: list[dict[str, object]] = []
        self.step_metrics: dict[str, str] = {}
        self.config: dict[str, object] = {}
        self.summary: dict[str, object] = {}
        self.name = ""
        for data in records(path):
            record = Record.FromString(data)
            self.name = record.run.display_name or self.name
            if record.HasField("history"):
                self.history.append(_items(record.history.item))
            if record.HasField("metric"):
                name = record.metric.name or record.metric.glob_name
                self.step_metrics[name] = record.metric.step_metric
            self.config |= _items(record.config.update)
            self.summary |= _items(record.summary.update)

    def curve(self, key: str) -> dict[int, float]:
        """Iteration and value."""
        rows = [row for row in self.history if key in row]
        return {row["reconstruct/iteration"]: row[key] for row in rows}


def _complete(path: Path) -> bool:
    """Whether the run has ended there."""
    from wandb.proto.wandb_internal_pb2 import Record

    return any(Record.FromString(data).HasField("exit") for data in records(path))


def _items(items) -> dict[str, object]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
