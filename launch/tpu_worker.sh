#!/usr/bin/env bash
# One worker's part of tpu_pod.sh; runs on the TPU VM, in this repository's copy there.
#
#   launch/tpu_worker.sh run ID COMMAND [ARGUMENT ...]   ends with the command's exit code
#   launch/tpu_worker.sh stop                            one SIGTERM; returns at once
#
# The command does not belong to the connection: where that breaks, gcloud connects and gives the same line again, and
# the same ID then means: go on watching. Another ID: what still runs from before is stopped first, since a TPU serves
# one process at a time. The output is kept in run/log. After a signal that was not sent from here 0 becomes 75: the
# machine is shutting down since its slice is taken away, and a training that saved is not done.

mkdir -p run
alive() { [ -s run/pid ] && kill -0 -- "-$(cat run/pid)" 2>/dev/null; }
stop() { touch run/asked; alive && kill -s "$1" -- "-$(cat run/pid)"; }

case ${1:-} in
stop)
  stop TERM
  exit 0
  ;;
run) ;;
*) echo "usage: launch/tpu_worker.sh run ID COMMAND [ARGUMENT ...] | stop" >&2 && exit 2 ;;
esac

id=$2
shift 2
if [ "$(cat run/id 2>/dev/null)" != "$id" ]; then
  stop TERM
  for ((i = 0; i < ${GRACE:-60}; i++)); do
    alive || break
    sleep 1
  done
  stop KILL
  rm -f run/code run/asked
  : >run/log
  # The trap keeps the shell for its last line; the command gets the signal as if nobody had trapped it.
  # shellcheck disable=SC2016
  setsid bash -c 'told=""; trap told=1 TERM INT HUP; "$@" </dev/null >run/log 2>&1; code=$?
    if [ -n "$told" ] && [ $code -eq 0 ] && [ ! -e run/asked ]; then code=75; fi; echo $code >run/code' run "$@" &
  echo $! >run/pid
  echo "$id" >run/id
fi
tail -n 50 -s 0.2 -f --pid="$(cat run/pid)" run/log
while alive; do sleep 0.2; done
exit "$(cat run/code 2>/dev/null || echo 137)"
