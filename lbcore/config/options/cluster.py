"""Options of a cluster."""

from __future__ import annotations

from lbcore.config.option import HOUR_MS as _HOUR
from lbcore.config.option import MINUTE_MS as _MINUTE
from lbcore.config.option import SECOND_MS as _SECOND
from lbcore.config.option import Option

CLUSTER: tuple[Option, ...] = (
    Option("kind", "choice", "etcd", "kind of the store that the nodes share", choices=("etcd",)),
    Option("endpoints", "texts", None, 'its members: "http://HOST:PORT" or "https://HOST:PORT" each'),
    Option(
        "prefix",
        "text",
        "/lbcore/",
        "what the keys of this cluster begin with; begins and ends with /. Nodes of one cluster have the same",
    ),
    Option("node", "name", None, "name of this node, another one for each; default: the name of the host"),
    Option("user", "text", None, "user at the store; default: none"),
    Option("password_file", "text", None, "file whose first line is the user's password"),
    Option("password", "secret", None, "the user's password; better kept in a file (password_file)"),
    Option("ca", "text", None, "file of the CAs that sign the certificates of https members; default: the system's"),
    Option("cert", "text", None, "file of the certificate that is shown to https members; default: none"),
    Option("key", "text", None, "file of its key; default: the key is in the certificate's file"),
    Option(
        "secret_file",
        "text",
        None,
        "file whose first line, 32 characters or more, is known to all nodes and nobody else: sticky cookies of pools without a"
        " sticky_secret and TLS sessions are then valid at every node",
    ),
    Option(
        "keep",
        "duration",
        _MINUTE,
        "how long a registration that is gone from the store stays while no node hears the backend: the node that heard it has"
        " died, or the store was wiped",
        low=15 * _SECOND,
        high=24 * _HOUR,
    ),
    Option(
        "trust",
        "choice",
        "own",
        "whose word counts for load and in_flight: own: what backends report to this node; reports: also what they report to"
        " other nodes of the cluster; the latest report counts",
        choices=("own", "reports"),
    ),
)
