"""Chunks come back to the last bit, whatever is damaged or missing is found and done again."""

import math
import subprocess
from dataclasses import fields, replace
from itertools import chain

import pytest
import torch

from batches import result
from gnclightning.diagnostics import Inspection
from gnclightning.errors import UserError
from gnclightning.reconstruction.chunks import Chunks, remove_folder
from gnclightning.reconstruction.encoding import from_bytes, to_bytes
from gnclightning.reconstruction.records import BatchResult
from gnclightning.reconstruction.writers import ChunkWriter


def same(a, b) -> bool:
    """Equality to the last bit, NaN included."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(nan=7.5), b.nan_to_num(nan=7.5))
    if hasattr(a, "__dataclass_fields__"):
        parts = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)]
        return type(a) is type(b) and all(same(x, y) for x, y in parts)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


def odd_result() -> BatchResult:
    """With what JSON and safetensors may lose: NaN, infinity, shared memory, names, no truth."""
    plain = result("a/ü", "b", psnr=math.inf)
    method = plain.methods[0]
    rows = [row._replace(t=math.nan, objective=0.1 + 0.2) for row in method.trace]
    inspection = Inspection(*[torch.tensor([math.nan, k]) for k in range(len(fields(Inspection)))])
    odd = replace(method, x=method.x.mT, trace=rows, inspection=inspection)
    return BatchResult(replace(plain.batch, truth=None, y=plain.batch.direct), [odd, method])


@pytest.fixture
def chunks(tmp_path) -> tuple[Chunks, list[str]]:
    """Seven images in chunks of three, and what is warned of."""
    messages: list[str] = []
    (tmp_path / "chunks").mkdir()
    return Chunks(tmp_path / "chunks", 7, 3, messages.append), messages


class TestEncoding:
    def test_every_bit_comes_back(self):
        for whole in (odd_result(), result("a", "b", "c")):
            assert same(from_bytes(to_bytes(whole)), whole)

    def test_the_bytes_depend_on_nothing_else(self):
        assert to_bytes(odd_result()) == to_bytes(odd_result())

    def test_a_difference_is_seen(self):
        assert not same(from_bytes(to_bytes(result("a"))), result("a", iterations=3))


class TestChunks:
    def test_shares_are_disjoint_and_cover_what_is_not_finished(self, chunks):
        store = Chunks(chunks[0].folder, 100, 3)
        store.save(4, result("a"))
        shares = [store.share(rank, 3) for rank in range(3)]
        assert sorted(chain(*shares)) == [n for n in range(34) if n != 4]

    def test_images_are_counted_the_last_chunk_has_fewer(self, chunks):
        store, _ = chunks
        for number, count in ((2, 1), (0, 4)):
            store.save(number, result("a"))
            assert store.images_finished() == count
        assert store.finished() == [0, 2]

    def test_batches_go_where_their_images_belong(self, chunks):
        store, _ = chunks
        late = result("g")
        writer = ChunkWriter(store)
        writer.batch_finished(replace(late, batch=replace(late.batch, first=6)))
        writer.batch_finished(result("a", "b", "c"))
        assert [r.batch.names for r in store.results()] == [("a", "b", "c"), ("g",)]

    @pytest.mark.parametrize("damage", ["flip", "cut", "missing", "empty checksum"])
    def test_a_damaged_chunk_is_reported_and_no_longer_finished(self, chunks, damage):
        store, messages = chunks
        for number in (0, 1):
            store.save(number, result("a", "b"))
        data, checksum = (store.folder / f"000001{end}" for end in (".safetensors", ".sha256"))
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        match damage:
            case "flip":
                data.write_bytes(content)
            case "cut":
                data.write_bytes(content[:100])
            case "missing":
                data.unlink()
            case "empty checksum":
                checksum.write_text("")
        assert len(list(store.results())) == 1
        assert store.finished() == [0]
        (message,) = messages
        assert "000001.safetensors: damaged" in message
        assert "done again" in message

    def test_a_chunk_without_its_checksum_is_not_there(self, chunks):
        store, messages = chunks
        store.save(0, result("a"))
        (store.folder / "000000.sha256").unlink()
        assert (store.finished(), store.load(0), messages) == ([], None, [])

    def test_the_usual_tool_reads_the_checksums(self, chunks):
        store, _ = chunks
        store.save(0, result("a"))
        command = ["sha256sum", "--check", "000000.sha256"]
        done = subprocess.run(command, cwd=store.folder, capture_output=True, text=True)
        assert done.stdout == "000000.safetensors: OK\n"

    def test_finishing_removes_all_but_refuses_where_some_are_missing(self, chunks):
        store, _ = chunks
        for number in (0, 2):
            store.save(number, result("a"))
        with pytest.raises(UserError, match=r"expected 3 chunks .* 1 of them are damaged"):
            store.finish()
        store.save(1, result("b"))
        store.finish()
        assert list(store.folder.parent.iterdir()) == []


def test_a_removal_that_was_cut_short_leaves_nothing_that_counts(tmp_path):
    (tmp_path / ".chunks-removed").mkdir()
    (tmp_path / ".chunks-removed" / "left").touch()
    (tmp_path / "chunks").mkdir()
    remove_folder(tmp_path / "chunks")
    remove_folder(tmp_path / "chunks")
    assert list(tmp_path.iterdir()) == []
