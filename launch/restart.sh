#!/usr/bin/env bash
# Runs a training command, and again after a crash; training resumes by itself from its --workdir.
#
#   launch/restart.sh python -m srgan_jax train --config=FILE --workdir=DIR ...
#
# Ends with the command's exit code: at 0 (done, or stopped by a signal and saved), at 2 (bad input), at 126 and 127
# (the command cannot be run), after MAX_RESTARTS restarts, or after SIGTERM, SIGINT or SIGHUP, which go on to the
# command once (SIGHUP as SIGTERM). Environment: MAX_RESTARTS (20), RESTART_PAUSE in seconds (10), STOPPED_CODE: what to
# end with instead of 0 after a signal (0), for schedulers that would take 0 for the end of the training; STOP_COMMAND:
# what to run instead of sending the command the signal, where it would not hand it on; if that fails, it is sent.

limit=${MAX_RESTARTS:-20}
pause=${RESTART_PAUSE:-10}
case $limit in '' | *[!0-9]*) echo "restart: MAX_RESTARTS=$limit: must be a whole number" >&2 && exit 2 ;; esac
case $pause in '' | . | *[!0-9.]* | *.*.*) echo "restart: RESTART_PAUSE=$pause: must be seconds" >&2 && exit 2 ;; esac
stopped_code=${STOPPED_CODE:-0}
case $stopped_code in *[!0-9]*) echo "restart: STOPPED_CODE=$stopped_code: must be an exit code" >&2 && exit 2 ;; esac
if [ $# -eq 0 ]; then
  echo "usage: launch/restart.sh COMMAND [ARGUMENT ...]" >&2
  exit 2
fi

child='' stopped='' signals=0
forward() {
  stopped=$1
  signals=$((signals + 1))
  if [ -n "$child" ]; then ${STOP_COMMAND:-false} || kill -s "$1" "$child" 2>/dev/null; fi
}
trap 'forward TERM' TERM HUP
trap 'forward INT' INT

# Starts a command and waits for its end; `wait` itself returns early at every signal. Job control gives the command a
# process group of its own: Ctrl-C reaches it once, through us, and not twice, which would stop training without saving.
# It goes off again, since with it `wait` would take a command that is suspended for one that has ended.
run() {
  set -m
  "$@" </dev/null &
  child=$!
  set +m
  if [ -n "$stopped" ]; then kill -s "$stopped" "$child" 2>/dev/null; fi
  local before
  while :; do
    before=$signals
    wait "$child"
    code=$?
    if [ "$signals" -eq "$before" ]; then break; fi
  done
  child=''
}

restarts=0
while :; do
  run "$@"
  if [ -n "$stopped" ]; then
    echo "restart: stopped by SIG$stopped, exit code $code" >&2
    if [ "$code" -eq 0 ]; then exit "$stopped_code"; fi
    exit "$code"
  fi
  case $code in 0 | 2 | 126 | 127) exit "$code" ;; esac
  crash=$code
  if [ "$restarts" -ge "$limit" ]; then
    echo "restart: exit code $crash, and MAX_RESTARTS=$limit is used up" >&2
    exit "$crash"
  fi
  restarts=$((restarts + 1))
  echo "restart: exit code $crash; restart $restarts of $limit in $pause s" >&2
  STOP_COMMAND='' run sleep "$pause"
  if [ -n "$stopped" ]; then exit "$crash"; fi
done
