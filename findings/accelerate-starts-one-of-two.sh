#!/usr/bin/env bash
# `accelerate launch --num_processes 2` starts a script in two processes.
#
# One would guess: on a machine without a GPU as well, above all with --cpu.
# What happens (accelerate 1.15.0): without --multi_gpu it takes its simple launcher, which starts one process; --num_processes
# has no effect, nothing says so, and the exit code is 0. An evaluation that divides its samples by rank does all of them in
# one process; on two machines with --num_machines 2 each does all of them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 accelerate==1.15.0 numpy==2.4.6
export HF_HOME="$work/cache" CUDA_VISIBLE_DEVICES=""

cat > seen.py <<'PYTHON'
from accelerate import PartialState

state = PartialState()
print(f"process {state.process_index} of {state.num_processes}", flush=True)
PYTHON

cat > expected.txt <<'TEXT'
--num_processes 2
process 0 of 1
--cpu --num_processes 2
process 0 of 1
--num_machines 2
process 0 of 1
TEXT

{
  echo "--num_processes 2"
  venv/bin/accelerate launch --num_processes 2 seen.py 2> log.txt
  echo "--cpu --num_processes 2"
  venv/bin/accelerate launch --cpu --num_processes 2 seen.py 2>> log.txt
  echo "--num_machines 2"
  venv/bin/accelerate launch --num_processes 2 --num_machines 2 --machine_rank 0 --main_process_ip 127.0.0.1 --main_process_port 29511 seen.py 2>> log.txt
} | tee seen.txt
cat log.txt
diff expected.txt seen.txt
