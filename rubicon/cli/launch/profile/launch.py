"""The profile of one launch: chosen and built before the fork, applied in the child."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rubicon.cli.launch.profile.lists import DROPPED
from rubicon.v1.instance import Instance

if TYPE_CHECKING:
    from rubicon.cli.launch.profile.calls import Filter


@dataclass(frozen=True, slots=True)
class Profile:
    """What CMD is launched under.

    Attributes:
        restricted: False with --privileged: CMD keeps all that the caller has.
        no_new_privs: no setuid program gives CMD rights.
        forced: it does not say so because it was asked to, but because the caller may not filter without.
        walled: CMD gets mounts of its own; not where the caller may not mount.
    """

    restricted: bool
    no_new_privs: bool
    forced: bool = False
    walled: bool = False
    _filter: Filter | None = None

    def ready(self) -> Profile:
        """The same with its filter built: what can fail, and takes time, before the fork.

        Raises:
            RubiconError: libseccomp is missing or too old.
        """
        if not self.restricted:
            return self
        from rubicon.cli.launch.profile import calls, walls  # noqa: F401 - the child is to find them imported

        return replace(self, _filter=calls.built())

    def build_walls(self, *, root: bool) -> None:
        """Put this process behind the walls (`walls.build`), before anything else is taken from it.

        Args:
            root: CMD's user is root.

        Raises:
            OSError: the kernel has refused one; CMD must not run.
        """
        if self.walled:
            from rubicon.cli.launch.profile import walls

            walls.build(Instance.current(), root=root)

    def apply(self) -> None:
        """Put this process under it, before it changes its user: a filter without no_new_privs needs CAP_SYS_ADMIN.

        Raises:
            OSError: the kernel has refused it; CMD must not run.
        """
        if not self.restricted:
            return
        assert self._filter, "not ready"
        from rubicon.cli.launch.profile import capabilities, landlock

        if self.no_new_privs:
            capabilities.no_new_privs()
        landlock.restrict()
        self._filter.load()
        # where no_new_privs is forced the bounding set is not ours to change, and no exec can reach into it
        numbers = [capability.number for capability in DROPPED]
        capabilities.drop(numbers, bounding=capabilities.effective(capabilities.SETPCAP))


def chosen(*, privileged: bool, no_new_privs: bool) -> Profile:
    """The profile that the options and the caller's own rights give."""
    if privileged:
        return Profile(restricted=False, no_new_privs=False)
    from rubicon.cli.launch.profile import capabilities

    may = capabilities.effective(capabilities.SYS_ADMIN, capabilities.SETPCAP)
    return Profile(
        restricted=True,
        no_new_privs=no_new_privs or not may,
        forced=not may and not no_new_privs,
        walled=capabilities.effective(capabilities.SYS_ADMIN),
    )
