#!/bin/sh
# Installs the Debian packages that drt needs and this machine lacks. Silent when nothing is missing.
set -eu
packages="gcc make pkg-config libdnnl-dev libjpeg-dev libpng-dev libwebp-dev libjansson-dev libyaml-dev
libpcre2-dev libutf8proc-dev zlib1g-dev libarchive-dev libsqlite3-dev libcmocka-dev"
missing=
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "drt needs these libraries (named as in Debian):$missing" >&2
    echo "install them with your system's package manager, then run make again" >&2
    exit 1
fi
run=
[ "$(id -u)" = 0 ] || run=sudo
echo "installing:$missing"
# The lists may be fresh already: update only when installing fails without it.
$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 || {
    $run apt-get update -q
    $run env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}
