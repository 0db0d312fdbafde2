"""The console script, and the only place that knows exit codes.

    0    done, or the answer is yes
    1    the answer is no (doctor: something essential fails)
    2    wrong usage
    3    Rubicon is unreachable
    4    refused
    5    not found
    6    partly done (kill, freeze, isolate, release: something is left, or one of many failed)
    70   a defect in Rubicon, or the host refused it something (a process, room on the disk)
    130  interrupted by Ctrl-C
    141  the reader of the output went away

`run` exits as CMD did (128 + n after signal n), with 124 at its time limit, 137 when a response killed the agent. Its
own failures are those of env(1): 125 Rubicon could not do it, 126 CMD is not executable, 127 there is no CMD; 4 when
the caller may not use Rubicon at all.
"""

from __future__ import annotations

import contextlib
import os
import sys

import click

from rubicon.cli.commands import Commands
from rubicon.cli.framework import ChildStatus, Verdict
from rubicon.cli.render.safe import safe
from rubicon.client.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Refused,
    RubiconError,
    RubiconUnreachable,
)
from rubicon.v1.instance import InstanceNameInvalid

_VERDICTS = {Verdict.YES: 0, Verdict.NO: 1, Verdict.PARTLY: 6}
_ERRORS: tuple[tuple[type[RubiconError], int], ...] = (
    (RubiconUnreachable, 3),
    (Refused, 4),
    (NotFound, 5),
    (InvalidArgument, 2),
    (RubiconError, 70),
)
USAGE, DEFECT, INTERRUPTED, NO_READER = 2, 70, 130, 141
RUN_FAILED = 125


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="RUBICON_INSTANCE names another instance than the host's own. Exit codes: docs/cli.md.",
)
@click.version_option(package_name="rubicon", message="%(prog)s %(version)s")
def rubicon() -> None:
    """Watch what AI agents really do on this host, from the kernel, and stop the ones that cross the line."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    running = bool(words) and words[0] == "run"
    try:
        code = _status(rubicon.main(words, "rubicon", standalone_mode=False))
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        error.show()
        return RUN_FAILED if running else USAGE
    except click.ClickException as error:
        error.show()
        return RUN_FAILED if running else DEFECT
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit:  # click's own word for a closed pipe, even where it is told to leave exits to others
        return NO_READER
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # so that the interpreter's last flush meets no closed pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except RubiconError as error:
        _say(error)
        if running and not isinstance(error, PermissionDenied):
            return RUN_FAILED
        return next(code for kind, code in _ERRORS if isinstance(error, kind))
    except InstanceNameInvalid as error:
        print(f"rubicon: {safe(str(error))}", file=sys.stderr)
        return RUN_FAILED if running else USAGE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"rubicon: {safe(where + (error.strerror or str(error)))}", file=sys.stderr)
        return RUN_FAILED if running else DEFECT
    except Exception:  # noqa: BLE001 - the last resort
        import traceback

        for line in traceback.format_exc().splitlines():
            print(safe(line), file=sys.stderr)
        print("rubicon: this is a defect in Rubicon: report it, with the lines above", file=sys.stderr)
        return RUN_FAILED if running else DEFECT
    return code


def _status(result: object) -> int:
    if isinstance(result, ChildStatus):
        return result.code
    return _VERDICTS[result] if isinstance(result, Verdict) else 0


def _say(error: RubiconError) -> None:
    with contextlib.suppress(OSError):
        hint = f"; {error.hint}" if error.hint and error.hint not in error.message else ""
        print(f"rubicon: {safe(error.message + hint)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
