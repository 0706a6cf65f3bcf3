#!/usr/bin/env bash
# Runs one training as N processes on this machine, on a port of its own choice.
#
#   launch/local.sh N python -m srgan_jax train --config=FILE --workdir=DIR ...
#   launch/restart.sh launch/local.sh N python -m srgan_jax train ...       # all of them again after a crash
#
# Process I is COMMAND with --distributed=127.0.0.1:PORT,N,I behind it; its lines begin with [I]. When one fails the
# others are told to end, and killed after GRACE seconds (30); the exit code is that of the first to fail, but 2, for
# bad input, where one of them ends with it. SIGTERM, SIGINT or SIGHUP go on to all as SIGTERM: they save together and
# end; a second one stops them at once. On a machine with GPUs set DEVICES_EACH=K: process I then has K of them, from
# K*I on; otherwise each would take all. Needs bash 4.4 or newer; macOS brings 3.2.

count=${2+$1} # none without a command
grace=${GRACE:-30}
each=${DEVICES_EACH:-}
case $count in '' | 0* | *[!0-9]*) echo "usage: launch/local.sh N COMMAND [ARGUMENT ...]" >&2 && exit 2 ;; esac
case $grace in '' | *[!0-9]*) echo "local: GRACE=$grace: must be whole seconds" >&2 && exit 2 ;; esac
case $each in 0* | *[!0-9]*) echo "local: DEVICES_EACH=$each: must be a whole number" >&2 && exit 2 ;; esac
shift

# Below the ports that connections going out are given; one that answers is taken.
port=$((20000 + (RANDOM + $$) % 10000))
while (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done

set -m # a process group for each: Ctrl-C reaches this script alone, and each process one signal from it
declare -A running=()
stopped='' killer=''
tell() {
  local pid
  for pid in "${!running[@]}"; do kill -s "$1" -- "${2:-}$pid" 2>/dev/null; done
}
trap 'stopped=1' TERM INT HUP

writers=()
for ((i = 0; i < count; i++)); do
  if [ -n "$each" ]; then
    JAX_LOCAL_DEVICE_IDS=$(seq -s, $((each * i)) $((each * i + each - 1)))
    export JAX_LOCAL_DEVICE_IDS
  fi
  exec {line}> >(trap '' TERM INT HUP && exec sed -u "s/^/[$i] /")
  writers+=($!)
  "$@" "--distributed=127.0.0.1:$port,$count,$i" </dev/null >&"$line" 2>&1 {line}>&- &
  running[$!]=$i
  exec {line}>&-
done
trap 'tell TERM' TERM INT HUP
if [ -n "$stopped" ]; then tell TERM; fi

# Asks who has ended rather than `wait -n`, which (bash 5.2) forgets one of two that end at once.
first=0
while [ ${#running[@]} -gt 0 ]; do
  sleep 0.2 &
  wait $!
  for pid in "${!running[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then continue; fi
    wait "$pid" 2>/dev/null # without bash's own line on how it ended
    code=$?
    who=${running[$pid]}
    unset "running[$pid]"
    if [ "$code" -eq 0 ]; then continue; fi
    # Of two that end at once either may be seen first; 2 is what no restart mends.
    if [ "$first" -ne 0 ] && { [ "$code" -ne 2 ] || [ "$first" -eq 2 ]; }; then continue; fi
    echo "local: process $who ended with exit code $code${running[*]:+; ending the others}" >&2
    first=$code
    if [ -n "$killer" ] || [ ${#running[@]} -eq 0 ]; then continue; fi
    tell TERM
    (sleep "$grace" && tell KILL -) & # with what they started
    killer=$!
  done
done
if [ -n "$killer" ]; then kill -- "-$killer" 2>/dev/null; fi
wait "${writers[@]}" 2>/dev/null # the last lines
exit "$first"
