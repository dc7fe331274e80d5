#!/usr/bin/env bash
# Writes requirements/hashed/ from the versions in requirements/: run it after a change there, and read the difference.
# Each version gets the sha256 of all its files that the package index lists today, for every platform.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mkdir -p build requirements/hashed
for file in requirements/*.txt; do
  {
    echo "# Made from $file by scripts/pin.sh; install it with --require-hashes."
    .venv/bin/uv pip compile --python .venv/bin/python --python-version 3.12 \
      --quiet --no-header --no-annotate --no-deps --generate-hashes "$file"
  } >build/hashed.txt
  mv build/hashed.txt "requirements/hashed/${file##*/}"
done
