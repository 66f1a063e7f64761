#!/usr/bin/env bash
# A Slurm of two nodes on this machine, from Debian's packages: slurm.sh start FOLDER, slurm.sh stop FOLDER.
# Everything lies in FOLDER, which must be new. sbatch, squeue and the rest find it by SLURM_CONF=FOLDER/slurm.conf and
# PATH=FOLDER/bin:$PATH.
# Wants slurmctld, slurmd and munge (apt-get install slurmctld slurmd munge), and no right beyond those of its user.
set -euo pipefail
verb=$1 folder=$(realpath -m "$2")

# The packages put daemons where a user's PATH may not lead.
PATH=$PATH:/usr/sbin
for command in slurmctld slurmd munged srun; do
  if ! command -v "$command" >/dev/null; then
    echo "error: no $command; apt-get install slurmctld slurmd slurm-client munge" >&2
    exit 1
  fi
done

start() {
  trap stop EXIT  # whatever fails leaves nothing running
  mkdir -p "$folder"/{bin,state,node1,node2}
  local me memory
  me=$(id -un)
  memory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
  # Three ports for which nobody listens.
  local ports
  ports=($(python3 - <<'PYTHON'
import socket
held = [socket.socket() for _ in range(3)]
for one in held:
    one.bind(("", 0))
print(*(one.getsockname()[1] for one in held))
PYTHON
  ))
  cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
# No control groups, which take a right that containers lack.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
# A job that was requeued may begin at once; one that ended stays in squeue for ten minutes.
SchedulerParameters=bf_interval=1,sched_interval=1,requeue_delay=0
KillWait=2
MinJobAge=600
JobRequeue=1
NodeName=node1 NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=1 RealMemory=$((memory / 2))
NodeName=node2 NodeAddr=127.0.0.1 Port=${ports[2]} CPUs=1 RealMemory=$((memory / 2))
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=60 State=UP
CONF
  # Snakemake's plugin takes SLURM_CONF from the environment of a job's steps.
  printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$folder/slurm.conf" "$(command -v srun)" >"$folder/bin/srun"
  chmod +x "$folder/bin/srun"
  # The daemons read it from the environment.
  export SLURM_CONF=$folder/slurm.conf
  head -c 1024 /dev/urandom >"$folder/munge.key"
  chmod 700 "$folder"
  chmod 600 "$folder/munge.key"
  munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" --pid-file="$folder/munge.pid" \
    --log-file="$folder/munge.log" --seed-file="$folder/munge.seed"
  slurmctld
  slurmd -N node1
  slurmd -N node2
  for _ in $(seq 60); do
    if [ "$(sinfo --noheader --format=%T --Node 2>/dev/null | sort -u)" = idle ]; then
      trap - EXIT
      return
    fi
    sleep 0.5
  done
  echo "no Slurm after 30 s; its logs:" >&2
  for log in "$folder"/*.log; do
    tail -n 20 "$log" >&2
  done
  exit 1
}

stop() {
  export SLURM_CONF=$folder/slurm.conf
  scancel --quiet --user="$(id -un)" 2>/dev/null || true
  # Only the daemons can end what still runs.
  for _ in $(seq 40); do
    if [ -z "$(squeue --noheader --states=RUNNING,COMPLETING 2>/dev/null)" ]; then
      break
    fi
    sleep 0.5
  done
  local name pid
  for name in node1 node2 slurmctld munge; do
    pid=$(cat "$folder/$name.pid" 2>/dev/null || true)
    # The number may be another process's by now.
    if [ -n "$pid" ] && grep -qE '^(slurmd|slurmctld|munged)$' "/proc/$pid/comm" 2>/dev/null; then
      kill "$pid" 2>/dev/null || true
      for _ in $(seq 20); do
        [ -d "/proc/$pid" ] || break
        sleep 0.2
      done
    fi
  done
}

case $verb in
  start | stop) $verb ;;
  *)
    echo "usage: $0 start|stop FOLDER" >&2
    exit 2
    ;;
esac
