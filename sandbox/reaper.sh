#!/bin/sh
# Ends processes and removes directories when the pipe on stdin closes: `run PID SIGNAL`, `gone PID`, `dir PATH`.
trap '' INT TERM HUP
running='' dirs=''
while read -r what subject signal start; do
    case $what in
        run) running="$running $subject:$signal:$start" ;;
        gone)
            kept=''
            for p in $running; do [ "${p%%:*}" = "$subject" ] || kept="$kept $p"; done
            running=$kept ;;
        dir) dirs="$dirs $subject" ;;
    esac
done
# runs PID:SIGNAL:START: whether it is alive and no zombie; another process may have its number by now.
runs() {
    read -r stat 2>/dev/null <"/proc/${1%%:*}/stat" || return 1
    start=${1##*:}
    # shellcheck disable=SC2086 # the fields of the line
    set -- ${stat##*) }
    [ "$1" != Z ] && [ "${20}" = "$start" ]
}
end() { signal=${1#*:}; kill -s "${2:-${signal%:*}}" "${1%%:*}" 2>/dev/null; }
for p in $running; do runs "$p" && end "$p"; done
left=100
while [ $left -gt 0 ]; do
    alive=
    for p in $running; do runs "$p" && alive=1; done
    [ -n "$alive" ] || break
    sleep 0.05; left=$((left - 1))
done
for p in $running; do runs "$p" && end "$p" KILL; done
for d in $dirs; do for _ in 1 2 3; do rm -rf "$d" && break; sleep 0.1; done; done
