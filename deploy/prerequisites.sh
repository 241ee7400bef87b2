#!/usr/bin/env bash
# Makes sure that the machine can build: a C++ compiler and cargo have to be there, libclang (RocksDB's
# bindings are generated with it) is installed where that is allowed. No service is enabled or started.
set -euo pipefail

if ! command -v c++ >/dev/null; then
  echo "No C++ compiler here. Run: apt-get install build-essential" >&2
  exit 1
fi
if ! command -v cargo >/dev/null; then
  echo "No cargo here. Install rustup, open a new shell, and try again." >&2
  exit 1
fi

has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return
  ldconfig -p 2>/dev/null | grep -qE 'libclang(-[0-9.]+)?\.so' && return
  compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null
}

if has_libclang; then
  exit 0
fi
install=(apt-get install --yes --no-install-recommends libclang-dev)
if ! command -v apt-get >/dev/null; then
  echo "libclang is missing. Install your distribution's package of it (clang-devel, libclang)." >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
if [ "$(id -u)" = 0 ]; then
  apt-get update -qq && "${install[@]}"
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
  echo "libclang is missing; installing it with sudo."
  sudo apt-get update -qq && sudo "${install[@]}"
else
  echo "libclang is missing and this is not root. Run: ${install[*]}" >&2
  exit 1
fi
