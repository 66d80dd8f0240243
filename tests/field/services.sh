#!/bin/sh
# Starts and stops the station as its unit would, where systemd does not run: the folder it is for is in $ROOT.
set -eu
unset PYTHONPATH
pid=$(cat "$ROOT/run/station.pid" 2>/dev/null) || pid=0
alive() { [ "$pid" != 0 ] && kill -0 "$pid" 2>/dev/null && ! grep -q "^State:.Z" "/proc/$pid/status"; }  # who started it may be gone
case $1 in
    pid) if alive; then echo "$pid"; else echo 0; fi ;;
    stop)
        if alive; then
            kill "$pid"
            while alive; do sleep 0.02; done
        fi
        rm -f "$ROOT/run/station.pid" ;;
    start | start-offline)
        "$0" stop
        mkdir -p "$ROOT/run"
        if [ "$1" = start-offline ]; then export offline=1; fi
        setsid "$ROOT/opt/niutang-station/venv/bin/station" run --config "$ROOT/etc/niutang-station/station.toml" \
            >>"$ROOT/run/station.log" 2>&1 </dev/null &
        echo $! >"$ROOT/run/station.pid" ;;
esac
