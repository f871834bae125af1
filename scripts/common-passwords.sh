#!/bin/sh
# Makes src/access/common_passwords.txt anew: of the list of zxcvbn, which has the most used first, the first 3,000 of at
# least 8 characters, sorted. Needs npm and node. NOTICE has its licence.
set -eu
cd "$(dirname "$0")/.."
temporary=$(mktemp -d)
trap 'rm -r "$temporary"' EXIT
archive=$(cd "$temporary" && npm pack --silent zxcvbn@4.4.2)
tar -xzf "$temporary/$archive" -C "$temporary" package/lib/frequency_lists.js
node -e '
const lists = require(process.argv[1]);
const fit = lists.passwords.filter((password) => [...password].length >= 8);
process.stdout.write(fit.slice(0, 3000).sort().join("\n") + "\n");
' "$temporary/package/lib/frequency_lists.js" >src/access/common_passwords.txt
