#!/bin/sh
# Prints where a Chromium is. With --install, gets one from Debian's packages where there is none and that can be done.
# STEPWELL_TEST_CHROMIUM names another one. Fails where there is none.
found() {
    for name in "$STEPWELL_TEST_CHROMIUM" chromium chromium-browser google-chrome; do
        [ -n "$name" ] && command -v "$name" && return 0
    done
    return 1
}
found && exit 0
[ "$1" = --install ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >&2 || exit 1
found
