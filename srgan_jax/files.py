"""Files that are never seen half written, and one process at a time."""

import fcntl
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; at the end it becomes `path`, and after an error nothing of it is left.

    An OSError of that name says `path`, which somebody gave.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.partial")  # another process may do the same
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if str(error.filename) == str(partial):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # on a disk that takes nothing; the error that is under way says so
            partial.unlink()


@contextmanager
def alone(lock: Path, does: str) -> Iterator[None]:
    """Waits until no other process holds the file `lock`, which goes with the process, however it ends.

    does: what such a process does, for the line that says so.
    """
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process %s: waiting for it", does)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            error.filename = str(lock)
            raise
        yield
