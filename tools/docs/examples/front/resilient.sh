#!/bin/sh
# A router that spreads connections over three nodes by itself, without BGP: a resilient group of next hops (Linux 5.13). When a node
# leaves, only its own connections move.
#   resilient.sh up | leave N | return N          N: 1, 2 or 3
set -eu
case $1 in
up)
    sysctl -qw net.ipv4.fib_multipath_hash_policy=1
    for n in 1 2 3; do ip nexthop replace id $n via 10.77.0.1$n dev br0; done
    ip nexthop replace id 10 group 1/2/3 type resilient buckets 128 idle_timer 60 unbalanced_timer 0
    ip route replace 10.77.0.100/32 nhid 10
    ;;
leave) ip nexthop replace id 10 group "$(echo 1 2 3 | tr -d "$2" | xargs | tr ' ' /)" type resilient ;;
return) ip nexthop replace id 10 group 1/2/3 type resilient ;;
esac
