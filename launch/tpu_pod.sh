#!/usr/bin/env bash
# Trains on a Cloud TPU slice of any number of workers, from a machine that has gcloud.
#
#   export TPU_NAME=srgan TPU_ZONE=us-west4-a TPU_TYPE=v5litepod-16
#   launch/tpu_pod.sh train python -m srgan_jax train --config=FILE --workdir=runs/NAME ...
#   launch/tpu_pod.sh stop | fetch runs/NAME FOLDER | delete
#
# train: takes the slice if it is there, else creates it; copies the files that git tracks here; prepares each worker;
# runs the command on all at once; ends with the exit code of the first worker that failed; with 75, or gcloud's own, if
# the slice was taken away meanwhile. So with launch/restart.sh before it, a spot slice that is preempted is created
# again and, with TPU_NFS, the training resumes. Ctrl-C or SIGTERM: one SIGTERM to all workers, which save and end.
#
# gcloud copies to several workers by ssh-agent: where one runs, `ssh-add ~/.ssh/google_compute_engine` first.
#
# Environment: TPU_VERSION, the runtime (v2-alpha-tpuv5-lite, that of v5e); TPU_PROJECT; TPU_OPTIONS, further ones of
# creation ("--spot"); TPU_QUEUED=1 to ask through a queued resource; TPU_NFS=SERVER:/SHARE, mounted as runs/ on every
# worker: a slice of several workers needs it, since they save into one folder, and so does one that may be preempted,
# since its disks go with it; TPU_SETUP, run on each worker instead of the lines below; TPU_POLL, seconds between looks
# at a slice that is not ready or out of reach (20).

set -uo pipefail
name=${TPU_NAME:?the name of the slice} zone=${TPU_ZONE:?the zone of the slice}
kind=${TPU_TYPE:-v5litepod-16} version=${TPU_VERSION:-v2-alpha-tpuv5-lite}
queued=${TPU_QUEUED:-} nfs=${TPU_NFS:-} poll=${TPU_POLL:-20}
common=("--zone=$zone" --quiet)
if [ -n "${TPU_PROJECT:-}" ]; then common+=("--project=$TPU_PROJECT"); fi
read -ra options <<<"${TPU_OPTIONS:-}"
jax=$(sed -n 's/^jax==//p' requirements.txt) || exit 2
# A fresh machine updates itself and holds the locks of apt: `install` waits for them, `update` cannot.
setup=${TPU_SETUP:-"set -e
get() {
for i in 1 2 3 4 5 6 7 8 9 10; do sudo apt-get -q update && break; sleep 30; done
sudo apt-get -qy -o DPkg::Lock::Timeout=300 install \$1; }
command -v python3.11 >/dev/null || get python3.11-venv
test -x .venv/bin/pip || python3.11 -m venv .venv
.venv/bin/pip install -q -r requirements.txt 'jax[tpu]==$jax'
mkdir -p runs
if test -n '$nfs' && ! mountpoint -q runs; then
get nfs-common; sudo mount -t nfs '$nfs' runs; sudo chmod a+rwx runs; fi"}

tpu() { gcloud compute tpus tpu-vm "$1" "${@:2}" "${common[@]}"; }
queue() { gcloud compute tpus queued-resources "$1" "$name" "${@:2}" "${common[@]}"; }
everywhere() { tpu ssh "$name" --worker=all --batch-size=all --command="$1"; }

# state COMMAND...: what a `describe` says, nothing where there is no such thing; any other error ends the script.
state() {
  local said
  if said=$("$@" 2>&1); then
    echo "$said" | tail -n 1
  elif [[ $said != *NOT_FOUND* ]]; then
    echo "$said" >&2
    return 1
  fi
}

remove() { if [ -n "$queued" ]; then queue delete --force; else tpu delete "$name"; fi; }

create() {
  local how=("--accelerator-type=$kind" ${options[@]+"${options[@]}"}) # none is an error in bash before 4.4
  if [ -n "$queued" ]; then
    queue create "--node-id=$name" "--runtime-version=$version" "${how[@]}"
  else
    tpu create "$name" "--version=$version" "${how[@]}"
  fi
}

ready() {
  local now
  while :; do
    if [ -n "$queued" ]; then now=$(state queue describe '--format=value(state.state)') || return; fi
    if [ -z "$queued" ] || [ "$now" = ACTIVE ]; then
      now=$(state tpu describe "$name" '--format=value(state)') || return
    fi
    echo "tpu_pod: $name: ${now:-not there}" >&2
    case $now in
    READY) return ;;
    '') create || return ;;
    PREEMPTED | TERMINATED | FAILED | SUSPENDED)
      if [ -z "$nfs" ]; then echo "tpu_pod: $name: what it had saved goes with it, since TPU_NFS is not set" >&2; fi
      remove || return
      ;;
    STOPPED | HIDDEN | HIDING) echo "tpu_pod: start or delete $name first" >&2 && return 2 ;;
    *) sleep "$poll" ;;
    esac
  done
}

# Without the options that GNU alone has; what git tracks but is gone stays out.
copy() {
  local archive file
  archive=$(mktemp) || return
  git ls-files -z | while IFS= read -r -d '' file; do
    if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
  done | tar --null -czf "$archive" -T - &&
    tpu scp "$archive" "$name:srgan_jax.tgz" --worker=all --batch-size=all &&
    everywhere 'mkdir -p srgan_jax && tar -xzf srgan_jax.tgz -C srgan_jax'
  local code=$?
  rm -f "$archive"
  return "$code"
}

# watch COMMAND: runs it everywhere, and returns its exit code.
watch() {
  local child
  set -m # Ctrl-C reaches this script alone; gcloud stays, to show how the workers end
  everywhere "$1" </dev/null &
  child=$!
  set +m # with it `wait` would return where gcloud is suspended
  while kill -0 "$child" 2>/dev/null; do wait "$child"; done
  wait "$child"
}

train() {
  local command code tries now=READY stopped=''
  printf -v command '%q ' "$@"
  everywhere "cd srgan_jax && bash -c $(printf %q "$setup")" || return
  trap 'stopped=1; everywhere "cd srgan_jax && launch/tpu_worker.sh stop"' TERM INT HUP
  command="cd srgan_jax && PATH=\$PWD/.venv/bin:\$PATH launch/tpu_worker.sh run $(date +%s%N) $command"
  # gcloud connects ten times in all and then ends with 255, which says nothing of the training: that goes on. So the
  # same command again, which watches it, as soon as the slice can be asked for and is there; 180 tries are an hour.
  for ((tries = 0; tries < 180; tries++)); do
    if [ "$tries" -eq 0 ] || now=$(state tpu describe "$name" '--format=value(state)'); then
      if [ "$now" != READY ]; then return 75; fi
      watch "$command"
      code=$?
      if [ "$code" -ne 255 ]; then return "$code"; fi
    fi
    if [ -n "$stopped" ]; then return 255; fi
    sleep "$poll"
  done
  return 255
}

what=${1:-}
case $what-$# in
train-[2-9] | train-[1-9][0-9]*) ready && copy && train "${@:2}" ;;
stop-1) everywhere 'cd srgan_jax && launch/tpu_worker.sh stop' ;;
fetch-3)
  if [ -e "$3" ]; then echo "tpu_pod: $3 is there already; name another folder" >&2 && exit 2; fi
  rm -rf "$3.partial"
  tpu scp "$name:srgan_jax/$2" "$3.partial" --recurse --worker=0 && mv "$3.partial" "$3"
  ;;
delete-1) remove ;;
*) echo "usage: launch/tpu_pod.sh train COMMAND [ARGUMENT ...] | stop | fetch WORKDIR FOLDER | delete" >&2 && exit 2 ;;
esac
