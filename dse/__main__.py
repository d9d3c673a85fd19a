"""The console script ``dse`` and ``python -m dse``: a user's mistake is one sentence on stderr and exit code 2."""

from __future__ import annotations

import sys

from hwmodels.errors import BitfrontError


def main() -> None:
    """Run the command line; Ctrl-C while it still loads ends it as quietly as later on."""
    try:
        _main()
    except KeyboardInterrupt:
        sys.exit(130)


def _main() -> None:
    import optuna

    from dse.cli import app

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # our progress bar says what its log would
    try:
        app()
    except BitfrontError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # the reader of our output has gone (| head): nothing is left to say, and nobody to say it to
            sys.stderr.close()
            sys.exit(1)
        if error.filename is None:
            raise
        print(f"error: {error.filename} must be usable, but it is not: {error.strerror}.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
