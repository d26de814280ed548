#!/bin/sh
# Trains for some minutes and stops with a checkpoint; run it again to go on. For machines that are lent for a short time.
#
#     examples/train_on_gpu.sh CONFIG FOLDER [SECONDS]
#
# FOLDER, with last.ckpt, is what to bring back, and to bring along the next time. Default: 540 seconds.
set -eu
config=$1 folder=$2 seconds=${3:-540}
resume=
[ ! -e "$folder/last.ckpt" ] || resume=--resume
# As Ctrl-C: the run ends after the current update and saves it. It has 60 seconds for that.
status=0
timeout --signal=INT --kill-after=60 "$seconds" \
    openmm-nemo train "$config" --out "$folder" $resume || status=$?
case $status in
0 | 124 | 130) ls -l "$folder/last.ckpt" ;;
*) exit "$status" ;;
esac
