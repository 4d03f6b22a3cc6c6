"""Lightning data modules: ELLIPSES phantoms made on the fly, and images from a folder.

Both give batches (B, 1, H, W), float32 in [0, 1]. Training is one endless stream of images, of
which an epoch is only a number of batches: batch k of a run depends on the seed, the batch size
and k alone, not on the workers, the ends of epochs, or an interruption and resumption. With several
devices the stream's batches are dealt out in turn; a pass is a whole number of the optimiser's
steps. Images are not augmented (a mirrored patient is not a patient).
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gnclightning.data.ellipses import STREAM_LENGTH, EllipsesDataset, phantoms
from gnclightning.data.folder import read_images, sources
from gnclightning.data.intensity import AS_STORED, IntensityMapping
from gnclightning.errors import UserError

Order = Callable[[int], Iterator[int]]
"""Maps a position in the training stream to the indices of the images from there on, endlessly."""


class ImageDataModule(lightning.LightningDataModule):
    """What the data modules share: a training stream and a fixed set of validation images.

    Args:
        training: images (1, H, W).
        order: in which the training stream takes them.
        train_count: images per epoch, rounded down to whole batches, at least one.
        validation_images: (V, 1, H, W).
        batch_size: images per batch, in training and in validation (there, the last may be less).
        workers: processes that prepare training batches; with 0 the training process does.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        training: Dataset[Tensor],
        order: Order,
        train_count: int,
        validation_images: Tensor,
        batch_size: int,
        workers: int,
    ):
        super().__init__()
        if batch_size < 1:
            raise UserError(f"expected a batch size of at least 1, got {batch_size}")
        if workers < 0:
            raise UserError(f"expected 0 or more workers, got {workers}")
        self.validation_images = validation_images
        self.batch_size = batch_size
        batches = max(1, train_count // batch_size)
        self._stream = TrainingStream(training, order, batch_size, batches, workers)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.validation_images.shape[2:]
        return height, width

    @property
    def identity(self) -> dict[str, Any]:
        """Numbers and a hash of the images, where settings do not say which they are."""
        return {}

    def train_dataloader(self) -> "TrainingStream":
        """This device's part of the training stream; to iterate again goes on where it was."""
        if self.trainer is not None:
            trainer = self.trainer
            self._stream.deal(
                trainer.global_rank, trainer.world_size, trainer.accumulate_grad_batches
            )
            # Lightning's copies from pinned memory to a GPU run beside the computation.
            self._stream.pinned = trainer.strategy.root_device.type == "cuda"
        return self._stream

    def val_dataloader(self) -> "TensorBatches":
        """The validation images, the same ones in each epoch."""
        return TensorBatches(self.validation_images, self.batch_size)


class EllipsesDataModule(ImageDataModule):
    """ELLIPSES phantoms: each training batch is new, the validation phantoms stay.

    Args:
        batch_size: phantoms per batch.
        train_count: phantoms per epoch; the next epoch goes on with the next ones of the split.
        validation_count: phantoms of the validation split.
        size: pixels a side.
        workers: see `ImageDataModule`; a phantom takes so little time that 0 is seldom a loss.
        seed: see `gnclightning.data.ellipses.phantom`.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        batch_size: int,
        train_count: int,
        validation_count: int,
        size: int = 128,
        workers: int = 0,
        seed: int = 0,
    ):
        for name, number in (("training", train_count), ("validation", validation_count)):
            if number < 1:
                raise UserError(f"expected at least 1 {name} phantom, got {number}")
        validation = phantoms(range(validation_count), seed, "validation", size)
        super().__init__(
            EllipsesDataset("train", STREAM_LENGTH, seed, size),
            count,
            train_count,
            torch.from_numpy(validation),
            batch_size,
            workers,
        )


class FolderDataModule(ImageDataModule):
    """Images from a file or folder (see `read_images`), shuffled anew for each pass.

    The last images are kept for validation and never trained on: neighbouring slices of one
    patient look alike, so a random choice among them would not be held out. Of several files none
    is divided, since a stack may be a patient's volume.

    Args:
        path: file or folder; it is read at once, so that bad images fail before any work.
        batch_size: images per batch.
        validation_fraction: share of the images, between 0 and 1; at least one image, and of
            several files as many whole ones as come closest.
        workers: see `ImageDataModule`.
        seed: of the order of training.
        key: name of the array in each file, see `read_images`.
        mapping: of stored values to [0, 1].

    Raises:
        UserError: fewer than two images, a number out of range, or `read_images` fails.
    """

    def __init__(
        self,
        path: str | Path,
        batch_size: int,
        validation_fraction: float = 0.1,
        workers: int = 0,
        seed: int = 0,
        key: str | None = None,
        mapping: IntensityMapping = AS_STORED,
    ):
        if not 0 < validation_fraction < 1:
            raise UserError(
                f"expected a validation fraction between 0 and 1, got {validation_fraction}"
            )
        if seed < 0:
            raise UserError(f"expected a seed of at least 0, got {seed}")
        read = read_images(path, key=key, mapping=mapping)
        images = read.images
        train_count = len(images) - max(1, round(validation_fraction * len(images)))
        if train_count < 1:
            raise UserError(
                f"expected images for training and validation in {path}, got {len(images)} for a "
                f"validation fraction of {validation_fraction}: add images or lower the fraction"
            )
        files = sources(path, read.names)
        ends = [k for k in range(1, len(files)) if files[k] != files[k - 1]]
        train_count = min(ends or [train_count], key=lambda end: abs(end - train_count))
        self._identity = {
            "training": train_count,
            "validation": len(images) - train_count,
            "hash": hashlib.sha256(images.contiguous().numpy().data).hexdigest(),
        }
        super().__init__(
            _Images(images[:train_count]),
            partial(shuffled, train_count, seed),
            train_count,
            images[train_count:],
            batch_size,
            workers,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Of the values in [0, 1], in their order."""
        return self._identity


class TrainingStream:
    """Batches of an endless stream of images, `len` of them per pass.

    Lightning saves its position with a checkpoint and restores it, through `state_dict`.

    Args:
        images: where they come from.
        order: in which they come.
        batch_size: images per batch.
        batches: batches per pass, of all devices together.
        workers: processes that prepare them.
    """

    def __init__(
        self, images: Dataset[Tensor], order: Order, batch_size: int, batches: int, workers: int
    ):
        self._images = images
        self._pass = batches
        self._batches = _Batches(order, batch_size, batches)
        self._workers = workers
        self.pinned = False
        """Whether batches are in pinned memory."""

    def deal(self, rank: int, world: int, per_step: int = 1) -> None:
        """Take every `world`-th batch only, from number `rank` on, of a pass shared by all.

        The batches of a pass are rounded down to a multiple of `per_step`, those of a step.
        """
        self._batches.rank, self._batches.world = rank, world
        self._batches.batches = max(1, self._pass // (world * per_step)) * per_step

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Tensor]:
        # Workers end with each pass: persistent ones would live on after training, until the
        # garbage collector finds them, and hold it up.
        loader = DataLoader(
            self._images,
            batch_sampler=self._batches,
            num_workers=self._workers,
            pin_memory=self.pinned,
        )
        for batch in loader:
            # Counted here, not in the sampler: workers fetch indices long before they are used.
            self._batches.done += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The number of images given so far to all devices."""
        return {"images": self._batches.done * self._batches.together}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind the images that a former stream has given, dealt out in its way."""
        self._batches.done = state_dict["images"] // self._batches.together


class TensorBatches:
    """Images (N, 1, H, W) cut into batches, the last of which may be smaller."""

    def __init__(self, images: Tensor, batch_size: int):
        self._batches = images.split(batch_size)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._batches)


class _Batches(Sampler[list[int]]):
    """The indices of this device's next batches of a stream, after `done` of its batches."""

    def __init__(self, order: Order, batch_size: int, batches: int):
        self.order = order
        self.batch_size = batch_size
        self.batches = batches
        self.done = 0
        self.rank = 0
        self.world = 1

    @property
    def together(self) -> int:
        """Images of a batch for each device."""
        return self.world * self.batch_size

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        indices = self.order(self.done * self.together)
        for _ in range(self.batches):
            dealt = [list(islice(indices, self.batch_size)) for _ in range(self.world)]
            yield dealt[self.rank]


class _Images(Dataset[Tensor]):
    def __init__(self, images: Tensor):
        self.images = images

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def shuffled(image_count: int, seed: int, position: int) -> Iterator[int]:
    """Pass after pass over all images, each in an order of its own, from `position` on."""
    first, offset = divmod(position, image_count)
    for number in count(first):
        yield from np.random.default_rng((seed, number)).permutation(image_count)[offset:].tolist()
        offset = 0
