#!/bin/bash
# A recipe whose steps a Slurm cluster runs: one node, started here.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

for c in make munged slurmctld slurmd srun sinfo; do
	command -v $c >/dev/null || skip "no $c (Debian: slurm-wlm, munge)"
done
[ "$(id -u)" -eq 0 ] || skip "Slurm's daemons are started by root alone"

# the daemons write until they have gone
trap 'kill $(jobs -p) 2>/dev/null; wait; leave' EXIT

node=$(hostname -s)
base=$((20000 + $$ % 20000))
mkdir -p munge state spool
chmod 755 .
chmod 700 munge
head -c 1024 /dev/urandom >munge/key
chmod 600 munge/key
munged --force --foreground --key-file="$tmp/munge/key" \
    --socket="$tmp/munge.s" --pid-file="$tmp/munge/pid" \
    --log-file="$tmp/munge/log" --seed-file="$tmp/munge/seed" >munge.out 2>&1 &
cat >slurm.conf <<END
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmctldPort=$base
SlurmdPort=$((base + 1))
AuthType=auth/munge
AuthInfo=socket=$tmp/munge.s
CryptoType=crypto/munge
StateSaveLocation=$tmp/state
SlurmdSpoolDir=$tmp/spool
SlurmctldPidFile=$tmp/ctld.pid
SlurmdPidFile=$tmp/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$node Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$tmp/slurm.conf
slurmctld -D -f slurm.conf >ctld.out 2>&1 &
slurmd -D -f slurm.conf >slurmd.out 2>&1 &
for i in $(seq 50); do
	sinfo -h -o %T 2>/dev/null | grep -q idle && break
	sleep .2
done
timeout 20 srun -Q -n 1 true 2>err ||
    skip "Slurm does not start here: $(tail -qn 1 err ctld.out | head -1)"

timeout 120 make -s -j 2 -f "$root/pipelines/sweep.mk" MODEL="$model" \
    CALIB="$root/LICENSE" TEXT="$root/tests/data/text/eval.txt" SAMPLES=2 \
    LENGTH=64 TOKENS=256 WINDOW=64 RUNS= METHODS=rtn BITS=4 GROUPS=64 \
    SHARDS=2 RANGES='*.layers.[01].* *.layers.[23].*' OUT=cluster \
    LAUNCH='srun -Q -n 1 -i none' >log 2>&1 || fail "$(tail -5 log)"
grep -q '^rtn-w4-g64,ppl,[0-9]' cluster/report.csv || fail "$(cat cluster/report.csv)"
# the jobs were Slurm's: as many as there were steps
last=$(srun -Q -n 1 -i none sh -c 'echo $SLURM_JOB_ID')
[ "$last" -ge 9 ] || fail "$last jobs"
sq-calibrate -q -m "$model" -t "$root/LICENSE" --samples 2 --length 64 |
    sq-rtn -q -b 4 -g 64 | sq-pack -q -o here.sqa
exits 0 sq-diff here.sqa cluster/rtn-w4-g64.sqa
