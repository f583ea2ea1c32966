"""`python -m lbcore`, and the `lbcore` command."""

import sys


def main() -> None:
    """Run the command line. Exits 0 done, 1 failed while running, 2 wrong usage or configuration."""
    if sys.argv[1:2] == ["ready"]:
        from lbcore.cli import ready

        code = ready.quickly(sys.argv[2:])
        if code is not None:
            sys.exit(code)

    from lbcore.control import signals

    if sys.argv[1:2] in (["run"], ["register"]):
        signals.stay_first()
    if sys.argv[1:2] == ["run"]:
        signals.hold()

    from lbcore.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
