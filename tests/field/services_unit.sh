#!/bin/sh
# In a folder with a Debian in it, where no systemd runs: starts the station as station.service would, as far as the
# lines are read here: ExecStartPre, ExecStart, User, the folders, LoadCredential, WorkingDirectory, no rights of root.
# READ_ONLY=yes: as ProtectSystem=strict has it, all is read-only but the unit's own folders.
set -eu
unit=/etc/systemd/system/station.service
pid=$(cat /run/station.pid 2>/dev/null) || pid=0
alive() { [ "$pid" != 0 ] && [ -e "/proc/$pid" ] && ! grep -q "^State:.Z" "/proc/$pid/status"; }
line() { sed -n "s/^$1=//p" "$unit"; }
case $1 in
    pid) if alive; then echo "$pid"; else echo 0; fi ;;
    stop)
        if alive; then
            kill "$pid"
            while alive; do sleep 0.1; done
        fi
        rm -rf /run/station.pid /run/niutang-station /run/credentials ;;
    start | start-offline)
        "$0" stop
        install -d -m 0750 -o station -g station /var/lib/niutang-station /run/niutang-station
        install -d -m 0500 -o station -g station /run/credentials
        sed -n 's/^LoadCredential=//p' /etc/systemd/system/station.service.d/*.conf | while IFS=: read -r name file; do
            install -m 0400 -o station -g station "$file" "/run/credentials/$name"
        done
        cat >/run/begin <<'END'
set -eu
if [ "${READ_ONLY:-}" = yes ]; then
    mount --bind / /mnt
    mount -o remount,bind,ro /mnt
    for folder in proc dev run var/lib/niutang-station; do mount --rbind "/$folder" "/mnt/$folder"; done
    exec chroot /mnt sh -eu -c 'cd /run/niutang-station; exec "$@"' sh \
        setpriv --reuid=station --regid=station --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
fi
exec setpriv --reuid=station --regid=station --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
END
        cd /run/niutang-station
        export RUNTIME_DIRECTORY=/run/niutang-station STATE_DIRECTORY=/var/lib/niutang-station
        export CONFIGURATION_DIRECTORY=/etc/niutang-station CREDENTIALS_DIRECTORY=/run/credentials
        apart="--mount"
        [ "$1" = start ] || apart="--mount --net"
        # shellcheck disable=SC2046,SC2086  # the words of the unit's lines
        unshare $apart sh /run/begin $(line ExecStartPre) >>/var/log/station.log 2>&1
        # shellcheck disable=SC2046,SC2086
        setsid unshare $apart sh /run/begin $(line ExecStart) >>/var/log/station.log 2>&1 </dev/null &
        echo $! >/run/station.pid ;;
esac
