"""Options of the sources of a pool: DNS, files, and the engines that a site runs to tell who serves."""

from __future__ import annotations

from lbcore.config.option import HOUR_MS as _HOUR
from lbcore.config.option import MINUTE_MS as _MINUTE
from lbcore.config.option import SECOND_MS as _SECOND
from lbcore.config.option import Option

SOURCE: tuple[Option, ...] = (
    Option(
        "kind",
        "choice",
        "dns",
        "where backends are named: dns (addresses of a name, A and AAAA), srv (services in DNS), a watched file, or an engine:"
        " etcd, consul, kubernetes, nats (a key-value bucket)",
        choices=("dns", "srv", "file", "etcd", "consul", "kubernetes", "nats"),
    ),
    Option("name", "text", None, 'dns, srv: the name, such as "app.internal", for srv such as "_http._tcp.app.internal"'),
    Option(
        "port",
        "int",
        None,
        "dns, kubernetes: the port of all addresses; kubernetes: a port of the pods (targetPort), not of the Service",
        low=1,
        high=65_535,
    ),
    Option(
        "path",
        "text",
        None,
        'file: a file with a backend a line, "IP:PORT" or "IP:PORT weight=N"; JSON when its name ends in .json',
    ),
    Option(
        "interval",
        "duration",
        _SECOND,
        "of a file, the time between two looks; of dns and srv, the shortest time between two queries, whatever the time to"
        " live; of consul, the shortest time between two answers once ten came faster",
        low=50,
        high=_HOUR,
    ),
    Option("max_ttl", "duration", 5 * _MINUTE, "dns, srv: the longest time between two queries", low=100, high=24 * _HOUR),
    Option(
        "family",
        "choice",
        "auto",
        "dns, srv, etcd, consul, kubernetes, nats: family of the addresses of names and of pods; auto: IPv4, or IPv6 of a host"
        " without IPv4, so that a host with both is one backend; both: each address is a backend",
        choices=("auto", "ipv4", "ipv6", "both"),
    ),
    Option(
        "hold",
        "duration",
        5 * _SECOND,
        "dns, srv, etcd, consul, kubernetes, nats: an address that DNS replies lack stays for so long, and until a second reply"
        " lacks it; 0: it goes at once",
        low=0,
        high=_HOUR,
    ),
    Option(
        "server",
        "text",
        None,
        'dns, srv, etcd, consul, kubernetes, nats: the DNS server to ask, "IP:PORT"; default: /etc/hosts and the servers of'
        " resolv.conf",
    ),
    Option(
        "endpoints",
        "texts",
        None,
        'etcd, consul, kubernetes, nats: URLs of the engine, such as "https://10.0.0.1:2379", for nats such as'
        ' "nats://10.0.0.1:4222"; lbcore goes to the next when one fails; default: the engine on this host, and the cluster'
        " that the pod runs in (kubernetes)",
    ),
    Option(
        "prefix",
        "text",
        None,
        'etcd, nats: keys that begin with it are backends, such as "/services/shop/" (etcd) or "shop." (nats; default: all)',
    ),
    Option("bucket", "text", None, "nats: name of the key-value bucket"),
    Option("service", "text", None, "consul, kubernetes: name of the service"),
    Option(
        "namespace",
        "text",
        None,
        "consul, kubernetes: namespace of the service; default: of consul (Enterprise) the token's, of kubernetes the pod's"
        ' own, that of the kubeconfig\'s context, or "default"',
    ),
    Option("port_name", "text", None, "kubernetes: name of the port, where the service has several"),
    Option(
        "zone",
        "text",
        None,
        "kubernetes: pods of this zone get the sessions while one of them can serve; the others are backups",
    ),
    Option("tags", "texts", None, "consul: only instances that have all of these tags"),
    Option("partition", "text", None, "consul: the admin partition of the service (Consul Enterprise); default: the agent's"),
    Option("datacenter", "text", None, "consul: the datacenter to ask about; default: that of the agent"),
    Option(
        "consistency",
        "choice",
        "default",
        "consul: stale lets any server answer, so that answers come while Consul has no leader; consistent asks the leader to"
        " make sure that it still leads",
        choices=("default", "stale", "consistent"),
    ),
    Option(
        "kubeconfig",
        "text",
        None,
        "kubernetes: kubeconfig file that names the cluster and the user; the user has a token, a client certificate, or a"
        " program that tells tokens (allow_exec)",
    ),
    Option(
        "allow_exec",
        "flag",
        False,
        "kubernetes: lbcore runs the program that the kubeconfig's user has as exec (aws, gke-gcloud-auth-plugin, kubelogin)"
        " for a token, as lbcore's user; whoever can write the kubeconfig then runs programs as that user",
    ),
    Option("context", "text", None, "kubernetes: context of the kubeconfig; default: its current-context"),
    Option("user", "text", None, "etcd, nats: the user to log in as"),
    Option("password", "secret", None, "etcd, nats: password of user; better kept in a file (password_file)"),
    Option(
        "password_file",
        "text",
        None,
        "etcd, nats: file whose first line is the password of user; it is read again when it changes",
    ),
    Option("password_env", "text", None, "etcd, nats: variable of the environment that has the password of user"),
    Option("token", "secret", None, "consul, kubernetes, nats: token to show; better kept in a file (token_file)"),
    Option(
        "token_file",
        "text",
        None,
        "consul, kubernetes, nats: file whose first line is the token; it is read again when it changes",
    ),
    Option("token_env", "text", None, "consul, kubernetes, nats: variable of the environment that has the token"),
    Option(
        "creds_file",
        "text",
        None,
        "nats: .creds file with a user's JWT and the seed of its key, as nsc and Synadia Cloud write it; it is read again for"
        " each connection",
    ),
    Option(
        "ca",
        "text",
        None,
        "etcd, consul, kubernetes, nats: PEM file of the CAs that sign the engine's certificate; default: the system's",
    ),
    Option("cert", "text", None, "etcd, consul, kubernetes, nats: PEM file of a client certificate"),
    Option(
        "key",
        "text",
        None,
        "etcd, consul, kubernetes, nats: PEM file of the private key of cert; default: the key is in the cert file",
    ),
    Option(
        "timeout",
        "duration",
        5 * _SECOND,
        "etcd, consul, kubernetes, nats: how long the engine may take to answer",
        low=100,
        high=_MINUTE,
    ),
    Option(
        "resync",
        "duration",
        5 * _MINUTE,
        "etcd, consul, kubernetes, nats: lbcore reads the whole set again after so long, whatever the watch says; of consul,"
        " how long a query waits for a change",
        low=_SECOND,
        high=10 * _MINUTE,
    ),
    Option(
        "when_empty",
        "choice",
        "keep",
        "etcd, consul, kubernetes, nats: the engine names no backend where it named some before: keep the last ones, since the"
        " engine may have lost its data, or clear the pool",
        choices=("keep", "clear"),
    ),
)
