"""``python -m forwarder`` and the installed command."""

from forwarder.cli import app
from forwarder.cli.terminal import exit_codes


def main() -> None:
    """Run the command line; exits with sysexits' codes (see `forwarder.cli.terminal`)."""
    with exit_codes():
        app()


if __name__ == "__main__":
    main()
