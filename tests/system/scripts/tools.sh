#!/usr/bin/env bash
# Unpacks the distribution's Prometheus, node_exporter and ZooKeeper where the tests look for them,
# unless they are there already. Where that is not possible the tests that need them say that they
# are skipped; in CI that would hide a failure, so there it is one.
set -euo pipefail

tools=${RANGEKEEPER_TOOLS:-$HOME/.cache/rangekeeper/tools}
unpack=$(dirname "$0")/unpack.sh

if ! { [ -x "$tools/root/usr/bin/prometheus" ] && [ -x "$tools/root/usr/bin/prometheus-node-exporter" ]; }; then
  if ! "$unpack" "$tools" own prometheus prometheus-node-exporter; then
    echo "No Prometheus could be fetched; tests that need one will be skipped." >&2
    [ -z "${CI:-}" ]
  fi
fi

# The library of ZooKeeper, which no service comes with, and what a server of it loads.
jars=(
  libzookeeper-java libslf4j-java libsnappy-java libdropwizard-metrics-java libnetty-java
  libcommons-cli-java libcommons-io-java
)
if ! [ -e "$tools/root/usr/share/java/zookeeper.jar" ] && ! [ -e /usr/share/java/zookeeper.jar ]; then
  if ! "$unpack" "$tools" own "${jars[@]}"; then
    echo "No ZooKeeper could be fetched; tests that need one will be skipped." >&2
    [ -z "${CI:-}" ]
  fi
fi

# The links of a runtime that is only unpacked name a configuration that is not installed.
relink() {
  find "$tools/root/usr/lib/jvm" -type l -lname '/*' -print0 |
    while IFS= read -r -d '' link; do
      target=$tools/root$(readlink "$link")
      [ ! -e "$target" ] || ln -sfn "$target" "$link"
    done
}

if ! command -v java >/dev/null && ! compgen -G "$tools/root/usr/lib/jvm/*/bin/java" >/dev/null; then
  runtime=$(apt-cache depends default-jre-headless 2>/dev/null |
    sed -nE 's/.*Depends: (openjdk-[0-9]+-jre-headless).*/\1/p' | head -n 1)
  if [ -n "$runtime" ] && "$unpack" "$tools" own "$runtime"; then
    relink
  else
    echo "No Java could be fetched; tests that need ZooKeeper will be skipped." >&2
    [ -z "${CI:-}" ]
  fi
fi
