#!/bin/sh
# BIRD announces the shared address while lbcore is ready. Run it as a service that is started again, with
#   ExecStopPost=/usr/sbin/birdc disable front
# so that a killed script leaves nothing announced.
# It tells BIRD each time: a BIRD that was started anew begins without the address.
trap 'birdc disable front >/dev/null; exit' INT TERM
while :; do
    if /opt/lbcore/bin/lbcore ready --quiet --admin 127.0.0.1:9900; then
        birdc enable front >/dev/null
    else
        birdc disable front >/dev/null
    fi
    sleep 0.3
done
