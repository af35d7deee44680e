#!/bin/sh
# Write the locked sets of requirements/ anew from pyproject.toml: exact versions with hashes, no registry's host, no path of this machine.
# Run with the Python that the images have (3.11) and pip-tools at hand: `make lock`, or PYTHON=.venv/bin/python requirements/lock.sh [--upgrade]
# Without --upgrade the versions already in the files stay as long as pyproject.toml allows them.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export CUSTOM_COMPILE_COMMAND="requirements/lock.sh"

lock() { # lock OUTPUT OPTION...
    output=$1
    shift
    "$python" -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-config \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --resolver=backtracking \
        --output-file "requirements/$output" "$@" pyproject.toml
}

# dev holds everything and is resolved first; the others are constrained by it, so that what is tested is what is shipped.
lock dev.txt --extra operator --extra agent --extra dev "$@"
lock operator.txt --extra operator --constraint requirements/dev.txt
lock agent.txt --extra agent --constraint requirements/dev.txt
lock build.txt --build-deps-for wheel --only-build-deps --constraint requirements/dev.txt
