"""The one exception that means "the person can mend this"."""


class UserError(Exception):
    """Bad input: one line that names the file or field and says what to do.

    The command line prints the message without a traceback and exits with code 2.
    """
