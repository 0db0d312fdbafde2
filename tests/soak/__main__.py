"""`make soak`: an hour of agents that fight back. `python -m tests.soak --seed N` has a run again."""

from __future__ import annotations

import argparse
import secrets

from tests.soak.soak import soak
from tests.soak.stand import stand


def main() -> None:
    """Run it; what was wrong ends it with a traceback and status 1."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="of a run to have again (default: a new one)")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with stand() as host:
        print(soak(host, seed, options.minutes * 60, lambda line: print(line, flush=True)))


main()
