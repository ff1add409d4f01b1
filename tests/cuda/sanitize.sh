#!/usr/bin/env bash
# sanitize.sh memcheck|racecheck|initcheck|synccheck test_cuda: NVIDIA's compute-sanitizer over tests that launch every kernel,
# in whole and in cut tiles: half a minute each on an H100. Fails on what the tool finds, and where a test fails.
set -euo pipefail
tool=$1 program=$2
tests='cuda products by each kernel for many tokens - tern::i2
cuda products of every count of tokens around every edge - tern::i2
cuda quantizer on*'
[ "$tool" = racecheck ] || tests+='
cuda chains*
cuda quantizer*'
exec compute-sanitizer --tool "$tool" --error-exitcode 1 "$program" "${tests//$'\n'/,}"
