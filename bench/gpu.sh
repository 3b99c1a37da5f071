#!/usr/bin/env bash
# Everything there is to know about this GPU, in one command, without network:
#   the gpu tests; then, for random weights at the shapes B/32, B/16, L/14 and L/14@336: export, TensorRT engines, the
#   numeric gate, and torch fp16 (eager and compiled), the CUDA provider and TensorRT side by side; then a join of
#   1,000,000 vectors with themselves beside torch and FAISS, which has no rehearsal.
# Writes bench/results/gpu_NAME_DATE.json and .log. What refuses to run is in them, with its reason, and the rest goes on.
# Exits with 1 when a test or a gate failed, with 2 at once where there is no NVIDIA driver.
#   bench/gpu.sh --rehearse   the same steps with a tiny shape on the processor, nothing kept: a test of this script
#   bench/gpu.sh --help       other options
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
export PYTHONPATH="$PWD/engine:$PWD/export:$PWD/bench${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1
exec "$python" -m semscale_bench.gpu "$@"
