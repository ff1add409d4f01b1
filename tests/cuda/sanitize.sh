#!/usr/bin/env bash
# sanitize.sh memcheck|racecheck|initcheck|synccheck test_cuda [TESTS]: NVIDIA's compute-sanitizer over tests that launch every
# kernel, in whole and in cut tiles. Fails on what the tool finds, and where a test fails.
set -euo pipefail
tool=$1 program=$2
tests=${3:-'cuda chains*,cuda quantizer*,cuda products by*- tern::i2,cuda products of every count of tokens around every edge - tern::i2'}
exec compute-sanitizer --tool "$tool" --error-exitcode 1 "$program" "$tests"
