"""How a batch travels: from the process that gathered it to the device, as one piece of memory.

A batch holds some dozens of tensors. Packed end to end they are one block of shared memory between two processes, one
page-locked buffer, and one copy to the device, which runs on a stream of its own while the step before computes.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ham.data.batches import Batch
from ham.train.parts import Enter, unwatched

ALIGNMENT = 64
"""Bytes that each tensor's beginning is a multiple of, as that of a tensor of its own is."""


class Part(NamedTuple):
    """Where a tensor lies in the buffer: its first byte, its type and its shape."""

    start: int
    dtype: torch.dtype
    shape: torch.Size


@dataclass(frozen=True)
class Packed:
    """A batch in one piece of memory.

    Attributes:
        buffer: the bytes of all its tensors.
        rest: the batch without them.
    """

    buffer: Tensor
    rest: bytes

    def pin_memory(self) -> Packed:
        """The same in page-locked memory, from which a copy to a GPU does not wait; the loader calls this."""
        return replace(self, buffer=self.buffer.pin_memory())

    def to(self, device: torch.device) -> Packed:
        """The same on a device; from page-locked memory the copy only begins here."""
        return replace(self, buffer=self.buffer.to(device, non_blocking=True))

    def unpack(self) -> Batch:
        """The batch, whose tensors are views of the buffer."""
        batch: Batch = _Unpickler(self).load()
        return batch


def pack(batch: Batch) -> Packed:
    """Put a batch into one piece of memory, on the central processor."""
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(batch)
    buffer = torch.empty(pickler.end, dtype=torch.uint8)
    for start, piece in pickler.pieces:
        buffer[start : start + len(piece)] = piece
    return Packed(buffer, stream.getvalue())


def cross(loaded: Iterable[Packed | Batch], device: torch.device, enter: Enter = unwatched) -> Iterator[Batch]:
    """Bring batches to a device.

    Whoever asks for a batch has handed all work of the step before to the device; on a GPU the copy runs beside that
    work, on a stream of its own.

    Args:
        loaded: from the loader; those that are not packed stay where they are.
        device: where to.
        enter: called when a copy begins.
    """
    side = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    for one in loaded:
        enter("copy")
        if not isinstance(one, Packed):
            yield one
        elif side is None:
            yield one.to(device).unpack()
        else:
            with torch.cuda.stream(side):
                there = one.to(device)
            now = torch.cuda.current_stream(device)
            now.wait_stream(side)
            there.buffer.record_stream(now)  # or its memory could be given away while the step still reads it
            yield there.unpack()


class _Pickler(pickle.Pickler):
    """Leaves tensors out and remembers their bytes, ``pieces``, and where each will begin."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self.end = 0
        self.pieces: list[tuple[int, Tensor]] = []

    def persistent_id(self, value: Any) -> Part | None:
        """Where a tensor will lie; None for anything else, which is written."""
        if not isinstance(value, Tensor):
            return None
        part = Part(self.end, value.dtype, value.shape)
        self.pieces.append((self.end, value.contiguous().view(-1).view(torch.uint8)))
        self.end += -(-value.nbytes // ALIGNMENT) * ALIGNMENT
        return part


class _Unpickler(pickle.Unpickler):
    """Puts views of the buffer where tensors were left out."""

    def __init__(self, packed: Packed) -> None:
        super().__init__(io.BytesIO(packed.rest))
        self._buffer = packed.buffer

    def persistent_load(self, part: Part) -> Tensor:
        """The tensor that lies there."""
        num_bytes = part.shape.numel() * part.dtype.itemsize
        return self._buffer[part.start : part.start + num_bytes].view(part.dtype).view(part.shape)
