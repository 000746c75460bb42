#!/bin/bash
# Boots a Debian root with systemd in a container, and lets the service live in it:
# start by the package, reload, restart under a connection, upgrade, crash, watchdog,
# purge. check.sh runs it. Usage: live.sh ROOT OLD.deb NEW.deb
set -euo pipefail
root=$1
mkdir -p "$root/live"
cp "$2" "$root/live/old.deb"
cp "$3" "$root/live/new.deb"
cat >"$root/live/live.sh" <<'END'
#!/bin/bash
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
failed=0
check() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@" >/live/out 2>&1; then echo "ok   $what"; else echo "FAIL $what"; cat /live/out; failed=1; fi
}
as() { setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; }
pid() { systemctl show -P MainPID edged; }
until_ready() { for _ in $(seq 300); do systemctl is-active -q edged && edged status >/dev/null 2>&1 && return; sleep 0.2; done; return 1; }
changed() { for _ in $(seq 300); do [ "$(pid)" != "$1" ] && [ "$(pid)" != 0 ] && return; sleep 0.2; done; return 1; }

# Only to wait less.
mkdir -p /etc/systemd/system/edged.service.d
printf '[Service]\nWatchdogSec=5\nTimeoutAbortSec=2\n' >/etc/systemd/system/edged.service.d/fast.conf
check "install" dpkg -i /live/old.deb
useradd member -G edged
useradd stranger
check "the service is active and ready" until_ready
check "socket and service are enabled" systemctl is-enabled edged.socket edged.service
check "status names model, context and sessions" bash -c "systemctl show -P StatusText edged | tee /dev/stderr | grep -q '^ready: needle-26m-q8_0, context .* sessions'"
check "the sandbox is on" bash -c "systemctl show -P NoNewPrivileges,PrivateNetwork,MemoryDenyWriteExecute edged; systemctl show -P User edged | grep -qx edged"
check "it runs as its user" bash -c "[ \$(stat -c %U /proc/$(pid)) = edged ]"
check "a member may ask" as member edged run --temperature 0 -n 4 hello
check "a stranger may not" bash -c "! setpriv --reuid stranger --regid stranger --init-groups edged status"
p=$(pid)
printf '[log]\nlevel = "debug"\n' >>/etc/edged/config.toml
check "reload" systemctl reload edged
check "reload keeps the process" [ "$(pid)" = "$p" ]
check "the journal has priorities" bash -c "journalctl -u edged -o json | grep -q '\"PRIORITY\":\"6\"'"
systemctl stop edged
check "a stopped service is started by a connection" as member edged run --temperature 0 -n 4 hello
check "the socket survives the service" test -S /run/edged/edged.sock
kill -9 "$(pid)"
check "a crash is mended" until_ready
check "no port is served unasked" bash -c "! systemctl is-enabled -q edged-tcp.socket && ! (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null"
token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
(umask 077; echo "$token" >/etc/edged/token)
chown edged: /etc/edged/token
printf '[tcp]\ntoken_file = "token"\n' >>/etc/edged/config.toml
systemctl stop edged.service edged.socket
check "a port by a socket unit" systemctl enable --now edged.socket edged-tcp.socket
systemctl start edged
check "its service is ready" until_ready
over() { # HEADER: the status of a request over the port
	(exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /v1/models HTTP/1.1\r\nHost: %s\r\n%s\r\nConnection: close\r\n\r\n' "${2:-localhost:8080}" "$1" >&3 && head -1 <&3) | tr -d '\r'
}
check "with the token, the port answers" grep -q '^HTTP/1.1 200' <(over "Authorization: Bearer $token")
check "without, it does not" grep -q '^HTTP/1.1 401' <(over "Accept: */*")
check "nor for another host" grep -q '^HTTP/1.1 403' <(over "Authorization: Bearer $token" evil.example)
check "the service still has no network" bash -c "[ \$(systemctl show -P PrivateNetwork edged) = yes ] && [ \$(nsenter -t $(pid) -n tail -n +3 /proc/net/dev | grep -cv ' lo:') = 0 ]"
p=$(pid)
systemctl kill -s STOP edged # all of it hangs
check "the watchdog restarts a daemon that hangs" changed "$p"
check "and it answers" until_ready
check "upgrade" dpkg -i --force-confold /live/new.deb
check "the upgrade runs" bash -c "for _ in \$(seq 300); do edged status | grep -q ready && exit; sleep 0.2; done; exit 1"
check "exposure" systemd-analyze security --threshold=10 edged.service
grep -a 'Overall' /live/out
rm /etc/edged/token # not the package's, which leaves it
check "purge" dpkg -P edged
check "nothing is left" bash -c "[ ! -e /var/lib/edged ] && [ ! -e /etc/edged ] && [ ! -e /run/edged ] && ! systemctl is-active edged.socket"
journalctl -u edged --no-pager -o short | tail -60 >/live/journal
echo "result $failed"
END
cat >"$root/etc/systemd/system/live.service" <<'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /live/live.sh
ExecStopPost=/usr/bin/systemctl --no-block poweroff
StandardOutput=append:/live/live.log
StandardError=append:/live/live.log
[Install]
WantedBy=graphical.target
END
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -sf ../live.service "$root/etc/systemd/system/graphical.target.wants/live.service"
timeout 600 systemd-nspawn -q -D "$root" --register=no --keep-unit --private-network -b >"$root/live/boot.log" 2>&1 || true
cat "$root/live/live.log"
grep -qx 'result 0' "$root/live/live.log"
