#!/bin/sh
# Prints where a PgBouncer is. With --install, gets one from Debian's packages where there is none and that can be done.
# STEPWELL_TEST_PGBOUNCER names another one. Fails where there is none.
found() {
    for name in "$STEPWELL_TEST_PGBOUNCER" pgbouncer /usr/sbin/pgbouncer; do
        [ -n "$name" ] && command -v "$name" && return 0
    done
    return 1
}
found && exit 0
[ "$1" = --install ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pgbouncer; } >&2 || exit 1
{ command -v systemctl && systemctl disable --now pgbouncer; } >/dev/null 2>&1  # the tests start their own
found
