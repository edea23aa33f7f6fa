"""``python -m forwarder`` and the installed command."""

import sys


def main() -> None:
    """Run the command line; exits with sysexits' codes (see `forwarder.cli.terminal`)."""
    if sys.argv[1:] == ["health"]:  # as container engines ask it: without the command line's weight
        from forwarder.health import ask

        answer = ask(None)
        print(answer.text, file=sys.stderr if answer.code else sys.stdout)
        sys.exit(answer.code)

    from forwarder.cli import app
    from forwarder.cli.terminal import exit_codes

    with exit_codes():
        app()


if __name__ == "__main__":
    main()
