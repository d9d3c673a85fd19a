"""The base of every error that a user can cause: one sentence, no traceback on the command line."""


class BitfrontError(ValueError):
    """What must hold, what was given and what would do, in one sentence."""
