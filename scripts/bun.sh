#!/bin/sh
# Runs the Bun that package.json pins, with the packages that bun.lock pins:
#
#   sh scripts/bun.sh ARGS...    =    bun ARGS...
#
# A fresh machine needs only npm. Bun is kept in .cache/, the packages in node_modules/; both are
# made once and checked by one comparison afterwards.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cache=$root/.cache
version=$(sed -n 's/^ *"bun": *"\([0-9][^"]*\)".*/\1/p' "$root/package.json")
bun=$cache/bun-$version/bun
stamp=$root/node_modules/.installed-bun.lock
log=$cache/setup.log

is_pinned() {
  [ "$("$1" --version 2>/dev/null)" = "$version" ]
}

find_bun() {
  [ -x "$bun" ] && return
  if other=$(command -v bun) && is_pinned "$other"; then
    bun=$other
  else
    return 1
  fi
}

fail() {
  echo "scripts/bun.sh: $1; the last lines of $log:" >&2
  tail -n 20 "$log" >&2
  exit 1
}

# npm picks the build for this machine (processor, C library); the package's own install script,
# which npm may refuse to run, would only move it.
fetch_bun() {
  fresh=$cache/bun-$version.new-$$
  rm -rf "$cache/bun-"*.new-*
  mkdir -p "$fresh"
  npm install --prefix "$fresh" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
    "bun@$version" >>"$log" 2>&1 || fail "npm could not install bun $version"
  for candidate in "$fresh"/node_modules/@oven/bun-*/bin/bun; do
    if is_pinned "$candidate"; then
      mv "$candidate" "$fresh/bun"
      rm -rf "$fresh/node_modules"
      mv "$fresh" "$cache/bun-$version"
      return
    fi
  done
  fail "none of npm's builds of bun $version runs on this machine"
}

# From where npm would take them: bun does not read every file that configures npm.
install_packages() {
  if command -v npm >/dev/null && registry=$(npm config get registry 2>>"$log"); then
    export npm_config_registry="$registry"
  fi
  "$bun" install --cwd "$root" --frozen-lockfile >>"$log" 2>&1 || fail "bun install failed"
  cp "$root/bun.lock" "$stamp.new-$$"
  mv "$stamp.new-$$" "$stamp"
}

set_up() {
  echo "setting up marketd: Bun $version and its packages ..." >&2
  mkdir -p "$cache"
  if command -v flock >/dev/null; then
    exec 9>"$cache/setup.lock"
    flock 9
  fi
  : >"$log"
  find_bun || fetch_bun
  cmp -s "$root/bun.lock" "$stamp" || install_packages
  if command -v flock >/dev/null; then
    exec 9>&-
  fi
}

if ! find_bun || ! cmp -s "$root/bun.lock" "$stamp"; then
  set_up
fi
exec "$bun" "$@"
