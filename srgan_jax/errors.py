"""What a person can mend: the one exception that says so, and a full disk."""

import errno

# An OSError's number where a disk, a person's share of it, or a file (ulimit -f) is as large as it may be
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """Bad input: one line that names the file or field and says what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def said(error: BaseException) -> str | None:
    """The line for a person who can mend it; None: nobody can, or not by that."""
    if isinstance(error, UserError):
        return str(error)
    if of_memory(error):
        return "this needs more memory than there is; give smaller pictures, or a smaller batch_size"
    if isinstance(error, OSError) and error.errno in FULL:
        remedy = "make room" if error.errno == errno.ENOSPC else "make room, or raise the limit,"
        return f"{error.strerror}; {remedy} and give the same command again"
    if isinstance(error, OSError) and error.filename is not None:  # a path that somebody gave
        return f"{error.filename}: {error.strerror}; give a path that can be read or written"
    return None


def of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, by Python's word or by jax'."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error))


def printable(text: str) -> str:
    """One line that does nothing to a terminal: names out of foreign files may hold line ends and escape codes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
