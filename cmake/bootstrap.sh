#!/usr/bin/env bash
# bootstrap.sh demo|test|bench
#   demo    builds the example `digits` and runs it; further arguments go to it
#   test    builds and runs the whole test suite
#   bench   builds the benchmarks and runs a short selection; further arguments go to each
# Installs what is missing on Debian and Ubuntu, and nothing where all is there. Builds into build/release.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/release log=build/bootstrap.log

usage() { sed -n '2,5s/^# //p' cmake/bootstrap.sh >&2; exit 2; }

command=${1:-}
shift || usage
case $command in
  demo) parts=EXAMPLES targets=(digits) packages=(libeigen3-dev libcli11-dev libfmt-dev zlib1g-dev) ;;
  test)
    parts="TESTS EXAMPLES" targets=(all all_verify_interface_header_sets)
    packages=(libeigen3-dev libcli11-dev libfmt-dev zlib1g-dev catch2 nlohmann-json3-dev)
    ;;
  bench) parts=BENCH targets=(all) packages=(libeigen3-dev libbenchmark-dev) ;;
  *) usage ;;
esac

# phase NAME COMMAND...: one line where it goes well; where it does not, what the command said from the first error on.
phase() {
  local name=$1 start=$SECONDS
  shift
  printf '%-10s ' "$name"
  if ! "$@" >"$log" 2>&1; then
    printf 'failed (all of it: %s)\n' "$log"
    sed -n '/error: \|Error\|^FAILED\|^E: /,$p' "$log" | head -n 40 | grep . || tail -n 40 "$log"
    exit 1
  fi
  printf '%d s\n' $((SECONDS - start))
}

install_missing() {
  local missing=() package
  command -v c++ >/dev/null || missing+=(g++)
  command -v cmake >/dev/null || missing+=(cmake)
  command -v ninja >/dev/null || command -v make >/dev/null || missing+=(ninja-build)
  if command -v dpkg-query >/dev/null; then
    for package in "${packages[@]}"; do
      [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
  fi
  [ ${#missing[@]} -gt 0 ] || return 0

  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  if ! command -v apt-get >/dev/null || ! command -v "${sudo[0]:-true}" >/dev/null; then
    echo "Please install, by the names that Debian gives them: ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  phase update "${sudo[@]}" apt-get update
  phase install "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

configure() {
  local options=() part
  for part in TESTS EXAMPLES BENCH; do
    if [[ " $parts " == *" $part "* ]]; then options+=("-DTERN_BUILD_$part=ON"); else options+=("-DTERN_BUILD_$part=OFF"); fi
  done
  # The first configuration chooses the generator; later ones must not choose another.
  [ -e "$build/CMakeCache.txt" ] || ! command -v ninja >/dev/null || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
  ! command -v ccache >/dev/null || export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER:-ccache}
  cmake --preset release "${options[@]}"
}

cores=$(getconf _NPROCESSORS_ONLN)
mkdir -p build
install_missing
phase configure configure
phase build cmake --build "$build" --parallel "$cores" --target "${targets[@]}"

case $command in
  demo) "$build/examples/digits" "$@" ;;
  # What passed is left out; what failed is there in full, and ctest's own summary closes the run.
  test)
    ctest --preset release --no-label-summary --parallel "$cores" "$@" |
      grep -vE '^Test project|^ *Start +[0-9]+:|^ *[0-9]+/[0-9]+ Test.* Passed '
    ;;
  bench)
    "$build/bench/bench_ceiling" "$@"
    "$build/bench/bench_ratio" --seconds=4 --only=4096x4096 "$@"
    "$build/bench/bench_matmul" "$@"
    ;;
esac
