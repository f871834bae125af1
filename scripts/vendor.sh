#!/usr/bin/env bash
# Makes static/vendor from the packages that scripts/vendor/package-lock.json pins: the scripts of others that browsers
# get. The same lock gives the same bytes, and tests/it/vendored.rs holds them against SHA256SUMS.
#
# To take a newer version: change package.json, run `npm install --package-lock-only --omit-lockfile-registry-resolved`
# in scripts/vendor, run this, and read what the new version changed.
set -euo pipefail
cd "$(dirname "$0")/.."

# Files that are taken as their package has them: package, file in it, name here.
taken="
htmx.org  dist/htmx.min.js         htmx.min.js
htmx.org  dist/ext/hx-ptag.min.js  hx-ptag.min.js
htmx.org  dist/ext/hx-sse.min.js   hx-sse.min.js
"

target=$PWD/static/vendor
making=$(mktemp -d)
trap 'rm -rf "$making"' EXIT
mkdir "$making/vendor"
cp scripts/vendor/* "$making"
cd "$making"
npm ci --silent --ignore-scripts --no-fund --no-audit

node_modules/.bin/esbuild codemirror.js --bundle --format=esm --minify --target=es2022 --legal-comments=none \
    --metafile=parts.json --outfile=vendor/codemirror.js --log-level=warning
while read -r package file name; do
    [ -n "$package" ] && cp "node_modules/$package/$file" "vendor/$name"
done <<<"$taken"
TAKEN=$taken node licences.mjs parts.json >vendor/LICENSES.md
(cd vendor && LC_ALL=C sha256sum ./*.js LICENSES.md | sed 's, \./, ,' >SHA256SUMS)

mkdir -p "$target"
rm -f "$target"/*
cp vendor/* "$target"
