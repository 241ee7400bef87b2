#!/usr/bin/env bash
# Fuzzes each target for SECONDS, as many at a time as there are cores. A finding stops the run and
# lies in artifacts/. Corpora are kept in the cache folder and grow from run to run.
#   run.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")"

seconds=$1
shift
if ! cargo fuzz --version > /dev/null 2>&1; then
  echo "cargo-fuzz is missing; installing it."
  cargo install --locked --quiet cargo-fuzz
fi
rustup toolchain list | grep -q nightly || rustup toolchain install nightly --profile minimal

cache=${RANGEKEEPER_FUZZ_CACHE:-$HOME/.cache/rangekeeper/fuzz}
mkdir -p "$cache/corpus" "$cache/logs"
# Its own folder: instrumented code must not mix with the other builds.
export CARGO_TARGET_DIR=$cache/target

if [ $# -gt 0 ]; then
  targets=("$@")
else
  mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir .)
fi
cargo +nightly fuzz build --fuzz-dir . --release

# The fuzzer finds the grammar faster from texts that use all of it.
mkdir -p "$cache/corpus/promql"
number=0
while IFS= read -r query; do
  number=$((number + 1))
  printf '%s' "$query" > "$cache/corpus/promql/query-$number"
done < <(grep -vE '^(#|$)' ../system/queries.txt)

fuzz() {
  mkdir -p "$cache/corpus/$1"
  if cargo +nightly fuzz run --fuzz-dir . --release "$1" "$cache/corpus/$1" -- \
    "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=4096 -max_len=65536 \
    > "$cache/logs/$1.log" 2>&1; then
    echo "$1: $(grep -oE 'Done [0-9]+ runs in [0-9]+ second' "$cache/logs/$1.log")s, no finding"
  else
    echo "$1: a finding, see $cache/logs/$1.log" >&2
    return 1
  fi
}
export -f fuzz
export cache seconds
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'fuzz "$1"' _ {}
