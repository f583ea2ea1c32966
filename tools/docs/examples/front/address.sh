#!/bin/sh
# The shared address on lo of every node, for good. The network must not learn of it from a node that does not serve it:
# arp_ignore and arp_announce keep Linux from answering for an address of lo on other interfaces.
set -eu
sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
ip address replace "${1:-10.77.0.100}/32" dev lo
