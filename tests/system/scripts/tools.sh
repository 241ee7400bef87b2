#!/usr/bin/env bash
# Unpacks the distribution's Prometheus and node_exporter where the tests look for them, unless they
# are there already. Where that is not possible the tests that need them say that they are skipped;
# in CI that would hide a failure, so there it is one.
set -euo pipefail

tools=${RANGEKEEPER_TOOLS:-$HOME/.cache/rangekeeper/tools}
if [ -x "$tools/root/usr/bin/prometheus" ] && [ -x "$tools/root/usr/bin/prometheus-node-exporter" ]; then
  exit 0
fi
if ! "$(dirname "$0")/unpack.sh" "$tools" own prometheus prometheus-node-exporter; then
  echo "No Prometheus could be fetched; tests that need one will be skipped." >&2
  [ -z "${CI:-}" ]
fi
