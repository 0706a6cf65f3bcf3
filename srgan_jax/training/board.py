"""TensorBoard's event file, each event written as it comes.

Not by tensorboardX's SummaryWriter: its thread ends at a full disk, and who logs then waits for it for ever.
"""

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8


class Board:
    """Opened at `step`: events of later steps, written by a run that was then killed, count no more."""

    def __init__(self, folder: Path, step: int) -> None:
        with _torch_unseen():
            from tensorboardX import record_writer, summary
            from tensorboardX.proto import event_pb2, summary_pb2

        self.event, self.whole = event_pb2.Event, summary_pb2.Summary
        self.summary, self.checksum = summary, record_writer.masked_crc32c
        folder.mkdir(parents=True, exist_ok=True)
        earlier = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.[0-9]*.*")]
        stamp = max([int(time.time()), *(1 + at for at in earlier)])  # read in this order, whatever the clocks say
        self.file = FileIO(folder / f"events.out.tfevents.{stamp:010}.{socket.gethostname()}", "a")
        self._add(file_version="brain.Event:2")
        self._add(step=step + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Raises OSError, of which nothing remains in the file; so do the others."""
        each = (self.summary.scalar(name, value).value for name, value in values.items())
        self._add(step=step, summary=self.whole(value=chain.from_iterable(each)))

    def image(self, step: int, name: str, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self._add(step=step, summary=self.summary.image(name, image, dataformats="HWC"))

    def close(self) -> None:
        self.file.close()

    def _add(self, **content: object) -> None:
        """One record of a TFRecord file: length, checksum, event, checksum."""
        event = self.event(wall_time=time.time(), **content).SerializeToString()
        length = struct.pack("<Q", len(event))
        checksums = (struct.pack("<I", self.checksum(part)) for part in (length, event))
        append(self.file, length + next(checksums) + event + next(checksums))


def append(file: FileIO, data: bytes) -> None:
    """Writes all of it or, where there is no room, nothing: OSError. Half of it would spoil what comes next."""
    if (written := file.write(data)) < len(data):
        file.truncate(file.tell() - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _torch_unseen() -> Iterator[None]:
    """tensorboardX imports torch where that is installed, which takes seconds, and needs it for nothing done here."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # now importing it is an ImportError
    try:
        yield
    finally:
        del sys.modules["torch"]
