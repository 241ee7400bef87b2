#!/usr/bin/env bash
# Unpacks packages of a Debian suite into FOLDER/root without installing them: nothing is started,
# no service is enabled, root is not needed, and the machine's own apt state stays as it is.
#   unpack.sh FOLDER SUITE PACKAGE...      SUITE: the name of one, or "own" for the machine's
# Hosts and keys are the ones that the machine's own apt sources name.
set -euo pipefail

mkdir -p "$1"
folder=$(cd "$1" && pwd)
suite=$2
shift 2

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "unpack.sh: this machine has no apt; put these programs into PATH yourself: $*" >&2
  exit 1
fi

state=$folder/apt
mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/sources" "$folder/root"

# deb822 files hold paragraphs; those of the security archive have no other suite, and those of
# other vendors have no Debian suites at all.
for source in /etc/apt/sources.list.d/*.sources; do
  [ -e "$source" ] || continue
  awk -v suite="$suite" '
    BEGIN { RS = ""; ORS = "\n\n" }
    suite == "own" { print; next }
    /[Ss]ecurity/ || !/[Dd]ebian/ { next }
    { gsub(/(^|\n)Suites:[^\n]*/, "\nSuites: " suite); sub(/^\n/, ""); print }
  ' "$source" > "$state/sources/$(basename "$source")"
done
if [ -s /etc/apt/sources.list ]; then
  if [ "$suite" = own ]; then
    grep -E '^deb ' /etc/apt/sources.list > "$state/sources/main.list" || true
  else
    { grep -v -i security /etc/apt/sources.list |
      sed -nE "s/^deb (\[[^]]*\] )?([^ ]*debian[^ ]*) +[^ ]+ .*/deb \1\2 $suite main/p" |
      sort -u > "$state/sources/main.list"; } || true
  fi
fi

options=(
  -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$state/sources"
  -o "Dir::State::lists=$state/lists" -o "Dir::Cache=$state"
  -o APT::Get::List-Cleanup=0 -o APT::Sandbox::User=
)
apt-get "${options[@]}" -qq update
(cd "$state/archives" && apt-get "${options[@]}" -qq download "$@")
for package in "$state"/archives/*.deb; do
  dpkg-deb --extract "$package" "$folder/root"
  rm "$package"
done
rm -r "$state"
ls "$folder/root/usr/bin"
