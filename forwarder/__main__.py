"""``python -m forwarder`` and the installed command."""

from forwarder.cli import app


def main() -> None:
    """Run the command line; exits with the codes of DESIGN.md section 7."""
    app()


if __name__ == "__main__":
    main()
