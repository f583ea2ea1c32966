#!/bin/sh
# BIRD announces the shared address while lbcore is ready; announce-bird.service runs this. It tells BIRD each time: a BIRD that was
# started anew begins without the address.
trap 'birdc disable front >/dev/null; exit' INT TERM
while :; do
    if /opt/lbcore/bin/lbcore ready --quiet --admin 127.0.0.1:9900; then
        birdc enable front >/dev/null
    else
        birdc disable front >/dev/null
    fi
    sleep 0.3
done
