#!/bin/sh
# ExaBGP announces the shared address while lbcore is ready. ExaBGP reads these lines; set exabgp_api_ack=false, since nothing here
# reads its answers. ExaBGP starts a helper that ends again, five times a minute at most, then ends itself: this loop does not end.
said=
while :; do
    if /opt/lbcore/bin/lbcore ready --quiet --admin 127.0.0.1:9900; then say=announce; else say=withdraw; fi
    [ "$say" = "$said" ] || echo "$say route 10.77.0.100/32 next-hop self"
    said=$say
    sleep 0.3
done
