#!/bin/sh
# Succeeds where Node 20 or newer and npm can be run.
command -v npm >/dev/null 2>&1 && node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null
