#!/usr/bin/env bash
# Prints the commit that lies here, with "-dirty" if tracked files differ from it; nothing where
# there is no git or no clone.
cd "$(dirname "$0")/.." || exit
commit=$(git rev-parse --short=12 HEAD 2> /dev/null) || exit 0
if ! git diff --quiet HEAD -- 2> /dev/null; then
  commit=$commit-dirty
fi
echo "$commit"
