"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake or a missing thing that the user can mend.

    The message is one clear sentence that names the key or the file, says what was expected, and says what to do. Every
    command (`python -m vaegan.<name>`) prints it without a traceback and ends with exit code 2.
    """
