#!/usr/bin/env bash
# Builds the load generator out of the shared data and hands it to the comparison.
#   compare.sh PROGRAM [ARGUMENT...]
set -euo pipefail

program=$1
shift
shared=${RANGEKEEPER_SHARED:-}
if [ ! -d "$shared/tools/rwbench" ]; then
  echo "compare: the load generator lies in tools/rwbench of the shared data, which is not here." >&2
  echo "compare: set RANGEKEEPER_SHARED to its folder." >&2
  exit 1
fi

# The folder may be read-only, and cargo wants to write a lock file beside the manifest.
copy=$HOME/.cache/rangekeeper/rwbench
mkdir -p "$copy"
cp -r --no-preserve=mode "$shared/tools/rwbench/." "$copy/"
cargo build --quiet --release --manifest-path "$copy/Cargo.toml" --target-dir "$copy/target"

exec "$program" --rwbench "$copy/target/release/rwbench" --shared "$shared" "$@"
