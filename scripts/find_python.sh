#!/bin/sh
# Print the first Python 3.11 or newer that can make virtual environments; PYTHON=… is asked first.
for python in $PYTHON python3 python3.13 python3.12 python3.11 python3.14 python; do
	if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		echo "$python"
		exit 0
	fi
done
echo 'No Python 3.11 or newer with the venv module was found: install one, or name it: make PYTHON=/path/to/python3' >&2
exit 1
