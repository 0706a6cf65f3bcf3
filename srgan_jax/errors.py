"""What a person can mend: the one exception that says so, and a full disk."""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)  # an OSError's number where a disk, or a person's share of it, is full


class UserError(Exception):
    """Bad input: one line that names the file or field and says what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def printable(text: str) -> str:
    """One line that does nothing to a terminal: names out of foreign files may hold line ends and escape codes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
