#!/bin/bash
# Installs the Debian packages that tests and demo need and that are missing.
# With everything there it only looks, which takes no time. Arguments are more
# pairs PROGRAM:PACKAGE, for what only a benchmark needs.
set -euo pipefail

wanted=(
	initdb:postgresql        # a private cluster; the one that Debian may start is left alone
	ssh:openssh-client
	ssh-keygen:openssh-client
	zstd:zstd
	asciinema:asciinema
	age:age
	sha256sum:coreutils
	curl:curl
	chromium:chromium        # a real browser looks at the login pages
	npm:npm                  # and a second identity provider comes from there; brings nodejs
	ssh-audit:ssh-audit      # what a scanner says of the front door
	node:nodejs              # xterm.js, which tests hold the screen model against
	npm:npm
	cc:gcc                   # go test -race
	libpq:libpq-dev          # a client of libpq's own, through a forwarded port
	"$@"
)

has() {
	case $1 in
	initdb) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
	libpq) [ -e /usr/include/postgresql/libpq-fe.h ] ;;
	sshd | pgbouncer) [ -x "/usr/sbin/$1" ] ;;
	cc) command -v cc >/dev/null && [ -e /usr/include/stdlib.h ] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing=()
for want in "${wanted[@]}"; do
	has "${want%%:*}" || missing+=("${want#*:}")
	[ "$want" != cc:gcc ] || has cc || missing+=(libc6-dev)
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "missing, and there is no apt-get to install it with: ${missing[*]}" >&2
	exit 1
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "missing: ${missing[*]}; install them as root: apt-get install ${missing[*]}" >&2; exit 1; }
	as_root=(sudo)
fi
echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"

for want in "${wanted[@]}"; do
	has "${want%%:*}" || { echo "${want%%:*} is still missing after installing ${want#*:}" >&2; exit 1; }
done
