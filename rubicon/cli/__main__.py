"""`rubicon-cli`, which `rubicon` (deploy/bin) runs with SIGINT held back: before anything that takes time is loaded, Ctrl-C
is made quiet and let through."""

from rubicon.cli import interrupt

interrupt.quietly()


def main() -> int:
    """Run this process's command line and return its exit status."""
    from rubicon.cli.main import main

    return main()


if __name__ == "__main__":
    raise SystemExit(main())
