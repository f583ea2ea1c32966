"""Root given up: `lbcore run` that root started becomes the user that its settings name, before it binds or starts anything.

Nothing is read, written or started with rights that a reload, a renewed certificate or an upgrade would lack later. What stays
is CAP_NET_BIND_SERVICE, in the control plane alone, so that a reload can bind ports below 1024. Where the kernel is to forward
(datapath offload, offload_local), what that takes stays, too, for the workers: each has it from its exec until its program is
loaded. In the control plane it is not in effect, but for the trial at the start. Workers that serve have nothing.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys
from typing import NamedTuple

from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import BalancerSettings


class Account(NamedTuple):
    """A user: groups are the ids of all that it is in, gid among them."""

    name: str
    uid: int
    gid: int
    groups: list[int]


def account_of(user: str, group: str | None) -> Account:
    """The account that settings name. Raises ConfigError."""
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise ConfigError(f"user: {user!r} is not known on this machine") from None
    if found.pw_uid == 0:
        raise ConfigError(f"user: {user!r} is root: name an account with fewer rights")
    if group is None:
        return Account(found.pw_name, found.pw_uid, found.pw_gid, os.getgrouplist(found.pw_name, found.pw_gid))
    try:
        gid = (grp.getgrgid(int(group)) if group.isdecimal() else grp.getgrnam(group)).gr_gid
    except (KeyError, OverflowError):
        raise ConfigError(f"group: {group!r} is not known on this machine") from None
    return Account(found.pw_name, found.pw_uid, gid, [gid])


def wanted(settings: BalancerSettings) -> Account | None:
    """Whom root is to become; None: nobody, or that is who we are. Raises ConfigError when it cannot be."""
    if settings.user is None:
        return None
    account = account_of(settings.user, settings.group)
    here = os.geteuid()
    if here not in (0, account.uid):
        raise ConfigError(f"user: only root can become {account.name!r} (this is user {here})")
    return account if here == 0 else None


def become(account: Account, *, offloads: bool = False) -> None:
    """Go on as this user for good. Before any thread is started. Raises ConfigError.

    offloads: the workers that are started later are to have what that takes.
    """
    from lbcore._engine import become_user

    try:
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, account.gid)
        become_user(account.uid, offloads=offloads)
    except OSError as error:
        raise ConfigError(f"user: {account.name!r} cannot be taken on: {error.strerror}") from None
    for path, how, verb in ((sys.executable, os.X_OK, "run"), (__file__, os.R_OK, "read")):
        if not os.access(path, how):
            raise ConfigError(f"user: {account.name!r} may not {verb} {path}")


def rest() -> None:
    """What only workers are to use is not in effect in this process. Before any thread is started; root stays as it is."""
    from lbcore._engine import rest_privileges

    if os.geteuid() != 0:
        rest_privileges()
