#!/bin/sh
# Installs what sealcast is developed, demonstrated and tested with: `make deps`.
# With the argument matrix also the players of `make matrix`.
#
#   by apt, only what is missing   ffmpeg redis postgresql chromium strace gcc npm python3-jwt
#   .sealcast/bin/packager         Shaka Packager, from npm, checked by its SHA-256
#   .sealcast/bin/minio            MinIO, built from source by Go
#   .sealcast/samples/             a real moving picture from Debian's opencv-doc
#   internal/player/dist/          the libraries of the player page
#   by apt, for matrix             mpv vlc gstreamer python3-gi
#   token/interop/node_modules/    jsonwebtoken, which the tests of docs/tokens.md mint with
#
# For Debian and Ubuntu, as root or with sudo. Quick when all is there. No
# service is started or left enabled: sealcast runs servers of its own. Nothing
# is written outside the checkout but by apt, npm and Go in their own places.
set -eu

packager_version=3.4.2
packager_tarball=ed12902dd058537f1faa0ad82d40cbcb9bb9b850c32d86ed29e43a2a8c8575e9
packager_x64=7bdefe5a25fe84535c6c1a425f4c3c6b65fa85c441c2aeba01254b3c0f4b1956
packager_arm64=170ee824cc30a8ed7c7c22346c46bd614aa5532a4af16d9f3c8cfaed6eda268e
minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
sample=usr/share/doc/opencv-doc/examples/data/Megamind.avi

cd "$(dirname "$0")/../.."
here=$PWD/.sealcast
bin=$here/bin
log=$here/deps.log
mkdir -p "$bin"
exec 9>"$here/deps.lock"
flock 9 # a second `make deps` waits for the first
: >"$log"
PATH=$bin:$PATH
tmp=$(mktemp -d "$here/deps.XXXXXX")
no_cluster= # set while apt is told to create no database cluster
missing=    # what could not be had and is not needed by all

cleanup() {
	rm -rf "$tmp"
	if [ -n "$no_cluster" ]; then
		as_root rm -f "$no_cluster"
	fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%-10s %s\n' "$1" "$2"; }

# die STEP MESSAGE: what went wrong, the end of the log, what to do.
die() {
	if [ -s "$log" ]; then
		tail -n 15 "$log" | sed 's/^/    /' >&2
	fi
	printf '%-10s error: %s\n' "$1" "$2" >&2
	exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

sha256() { sha256sum "$1" 2>/dev/null | cut -d' ' -f1; }

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

has_postgres() {
	for dir in $(printf '%s' "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
		if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then return 0; fi
	done
	return 1
}

# has_pyjwt: of the system's Python, which the tests of the README run.
has_pyjwt() { /usr/bin/python3 -c 'import jwt, cryptography' 2>/dev/null; }

# has_chromium: Ubuntu's /usr/bin/chromium-browser is a shell script that asks
# for a snap; that is no browser.
has_chromium() {
	[ -x "${CHROMIUM:-/usr/bin/chromium}" ] # where the browser tests look
}

# link_redis makes the server out of Debian's redis-tools: redis-server,
# redis-check-rdb and redis-check-aof are one program that looks at its name.
# Installing the package redis-server would enable and start a system service.
link_redis() {
	if has redis-server; then return 0; fi
	[ -x /usr/bin/redis-check-rdb ] || return 1
	ln -sf /usr/bin/redis-check-rdb "$bin/redis-server"
	if "$bin/redis-server" --version 2>/dev/null | grep -q '^Redis server v='; then return 0; fi
	rm -f "$bin/redis-server"
	return 1
}

# ---- apt

apt_log() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1 9>&-; }

candidate() { apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [^(]'; }

updated=
apt_update() {
	if [ -n "$updated" ]; then return 0; fi
	updated=yes
	say apt "updating the package lists"
	apt_log update || die apt "apt-get update did not work: is the network up? are the sources in /etc/apt right?"
}

# apt_install PACKAGE...
apt_install() {
	if ! has apt-get; then
		die apt "missing: $*; this script knows Debian and Ubuntu only: install them in your system's way, then run make deps again"
	fi
	if [ "$(id -u)" -ne 0 ] && ! has sudo; then
		die apt "missing: $*; become root and run: apt-get install --no-install-recommends $*"
	fi
	for package in "$@"; do
		candidate "$package" || apt_update
	done
	say apt "installing $* (details: .sealcast/deps.log)"
	if ! apt_log install -y --no-install-recommends "$@"; then
		# Lists that are older than the archive name files that are gone.
		apt_update
		apt_log install -y --no-install-recommends "$@" ||
			die apt "apt-get install $* did not work: see .sealcast/deps.log"
	fi
}

# With this file postgresql-common makes no cluster "main" and so enables no
# server at boot. It is removed again when apt is done.
forbid_cluster() {
	dir=/etc/postgresql-common/createcluster.d
	if [ -e $dir/sealcast-deps.conf ]; then return 0; fi
	as_root mkdir -p $dir
	no_cluster=$dir/sealcast-deps.conf
	printf '# of sealcast: make deps; may be removed\ncreate_main_cluster = false\n' |
		as_root tee $no_cluster >/dev/null
}

step_apt() {
	need=
	if ! has ffmpeg || ! has ffprobe; then need="$need ffmpeg"; fi
	if ! link_redis; then need="$need redis-tools"; fi
	if ! has strace; then need="$need strace"; fi
	if ! has npm || ! has node; then need="$need nodejs npm"; fi
	if ! has gcc; then need="$need gcc libc6-dev"; fi # go test -race
	if ! has_pyjwt; then need="$need python3-jwt python3-cryptography"; fi
	if ! has_postgres; then
		need="$need postgresql"
		if has apt-get && { [ "$(id -u)" -eq 0 ] || has sudo; }; then forbid_cluster; fi
	fi
	if [ -n "$need" ]; then
		# shellcheck disable=SC2086 # a list of words
		apt_install $need
		if [ -n "$no_cluster" ]; then
			as_root rm -f "$no_cluster"
			no_cluster=
		fi
		if ! link_redis; then
			apt_install redis-server
			say redis "the package redis-server has enabled a system service; sealcast does not use it: systemctl disable --now redis-server"
		fi
		has_postgres || die apt "PostgreSQL's initdb and postgres are neither in PATH nor in /usr/lib/postgresql/*/bin"
	fi
	for tool in ffmpeg ffprobe strace npm node; do
		has $tool || die apt "$tool is still missing"
	done
	say apt "ffmpeg, redis, postgresql, strace, gcc, npm: there"
	has_pyjwt || missing="$missing python3-jwt"
	step_chromium
}

step_chromium() {
	if ! has_chromium && has apt-get; then
		candidate chromium || apt_update
		if candidate chromium && ! grep -q '^ID=ubuntu' /etc/os-release; then
			apt_install chromium
		fi
	fi
	if has_chromium; then
		say chromium "there"
		return 0
	fi
	missing="$missing chromium"
	say chromium "MISSING: the browser tests will fail. Here apt has no chromium but a wrapper for a snap. Install Chrome or Chromium in another way and set CHROMIUM to the path of the program"
}

# ---- Shaka Packager

step_packager() {
	case $(uname -m) in
	x86_64) arch=x64 want=$packager_x64 ;;
	aarch64) arch=arm64 want=$packager_arm64 ;;
	*) die packager "there is no Shaka Packager for $(uname -m): put one at .sealcast/bin/packager by hand" ;;
	esac
	if [ "$(sha256 "$bin/packager")" = "$want" ]; then
		say packager "$packager_version: there"
		return 0
	fi
	say packager "fetching shaka-packager@$packager_version from npm"
	(cd "$tmp" && npm pack --silent "shaka-packager@$packager_version") >>"$log" 2>&1 9>&- ||
		die packager "npm pack shaka-packager@$packager_version did not work: is the registry of 'npm config get registry' in reach?"
	file=$tmp/shaka-packager-$packager_version.tgz
	got=$(sha256 "$file")
	[ "$got" = "$packager_tarball" ] || die packager "the archive has SHA-256 $got, not $packager_tarball: it is not the one we know; nothing was installed"
	tar -xzf "$file" -C "$tmp" "package/bin/packager-linux-$arch"
	got=$(sha256 "$tmp/package/bin/packager-linux-$arch")
	[ "$got" = "$want" ] || die packager "the program has SHA-256 $got, not $want; nothing was installed"
	chmod 755 "$tmp/package/bin/packager-linux-$arch"
	mv -f "$tmp/package/bin/packager-linux-$arch" "$bin/packager"
	say packager "$packager_version: installed"
}

# ---- MinIO

step_minio() {
	has go || die minio "go is missing: install Go (see go.mod for the version)"
	# The tab-separated line of the build: mod, module, version.
	if go version -m "$bin/minio" 2>/dev/null | grep -q "github.com/minio/minio[[:space:]]*$minio_version"; then
		say minio "$minio_version: there"
		return 0
	fi
	say minio "building $minio_version from source: some minutes, once"
	# From outside the module, without the caller's flags: they are for our code.
	(cd "$tmp" && GOBIN=$tmp GOFLAGS='' GOWORK=off CGO_ENABLED=0 \
		go install -trimpath "github.com/minio/minio@$minio_version") >>"$log" 2>&1 9>&- ||
		die minio "go install github.com/minio/minio@$minio_version did not work: is the Go module proxy in reach?"
	mv -f "$tmp/minio" "$bin/minio"
	say minio "$minio_version: installed"
}

# ---- the demo's moving picture

step_samples() {
	target=$here/samples/$(basename "$sample")
	if [ -s "$target" ]; then
		say samples "$(basename "$sample"): there"
		return 0
	fi
	mkdir -p "$here/samples"
	if fetch_sample; then
		mv -f "$tmp/$(basename "$sample")" "$target"
		say samples "$(basename "$sample"): unpacked"
	else
		say samples "not to be had from apt: the demo generates a clip instead"
	fi
}

# fetch_sample downloads the package but does not install it: it would bring
# 270 MB of documentation for one file.
fetch_sample() {
	has apt-get || return 1
	if ! candidate opencv-doc; then
		if [ "$(id -u)" -ne 0 ] && ! has sudo; then return 1; fi
		apt_update
		candidate opencv-doc || return 1
	fi
	say samples "downloading opencv-doc (95 MB) for one video"
	sandbox=
	if [ "$(id -u)" -eq 0 ]; then sandbox="-o APT::Sandbox::User=root"; fi
	# shellcheck disable=SC2086 # an option and its value
	(cd "$tmp" && apt-get $sandbox download opencv-doc) >>"$log" 2>&1 9>&- || return 1
	dpkg-deb --fsys-tarfile "$tmp"/opencv-doc_*.deb 2>>"$log" |
		tar -xO "./$sample" >"$tmp/$(basename "$sample")" 2>>"$log" || return 1
	rm -f "$tmp"/opencv-doc_*.deb
	[ -s "$tmp/$(basename "$sample")" ]
}

# ---- the libraries of the player page

step_player() {
	dir=internal/player
	if [ ! -f $dir/package.json ]; then
		return 0
	fi
	stamp=$here/player.sha256
	want=$(cat $dir/package.json $dir/package-lock.json $dir/*.mjs 2>/dev/null | sha256sum)
	if [ -d $dir/node_modules ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want $(player_files)" ]; then
		say player "libraries: there"
		driver_works
		return 0
	fi
	say player "fetching the libraries from npm"
	(cd $dir && npm ci --ignore-scripts --no-audit --no-fund) >>"$log" 2>&1 9>&- ||
		die player "npm ci in $dir did not work: is the registry of 'npm config get registry' in reach? does package-lock.json fit package.json?"
	(cd $dir && npm run build) >>"$log" 2>&1 9>&- || die player "npm run build in $dir did not work"
	printf '%s' "$want $(player_files)" >"$stamp"
	say player "libraries: installed"
	driver_works
}

# driver_works: playwright-core wants Node 18, which Ubuntu 22.04 does not bring,
# and says so when it is loaded.
driver_works() {
	if (cd internal/player && node -e 'require("playwright-core")') >>"$log" 2>&1; then return 0; fi
	missing="$missing playwright-core"
	say player "MISSING: the browser tests will fail: playwright-core does not load in Node $(node --version): $(tail -n 2 "$log" | tr '\n' ' ')"
}

# player_files are the names in dist: one that was deleted is built again.
player_files() { (cd internal/player && ls dist 2>/dev/null) | sha256sum; }

# ---- the players of make matrix

step_matrix() {
	need=
	if ! has mpv; then need="$need mpv"; fi
	if ! has vlc; then need="$need vlc-bin vlc-plugin-base vlc-plugin-video-output"; fi
	if ! has gst-launch-1.0 || ! has gst-play-1.0; then
		need="$need gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-base-apps gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav"
	fi
	if ! /usr/bin/python3 -c 'import gi; gi.require_version("Gst", "1.0")' 2>/dev/null; then
		need="$need python3-gi gir1.2-gstreamer-1.0"
	fi
	if [ -n "$need" ]; then
		# shellcheck disable=SC2086 # a list of words
		apt_install $need
	fi
	for tool in mpv vlc gst-launch-1.0 gst-play-1.0; do
		has $tool || die matrix "$tool is still missing"
	done
	say matrix "mpv, VLC, GStreamer: there"
}

# ---- what tests mint tokens with in Node

step_interop() {
	dir=token/interop
	want=$(cat $dir/package.json $dir/package-lock.json | sha256sum)
	if [ -d $dir/node_modules ] && [ "$(cat "$here/interop.sha256" 2>/dev/null)" = "$want" ]; then
		say interop "jsonwebtoken: there"
		return 0
	fi
	say interop "fetching jsonwebtoken from npm"
	(cd $dir && npm ci --ignore-scripts --no-audit --no-fund) >>"$log" 2>&1 9>&- ||
		die interop "npm ci in $dir did not work: is the registry of 'npm config get registry' in reach?"
	printf '%s' "$want" >"$here/interop.sha256"
	say interop "jsonwebtoken: installed"
}

step_apt
step_packager
step_minio
step_samples
step_player
if [ "${1:-}" = matrix ]; then step_matrix; fi
step_interop
rm -f "$log"
if [ -n "$missing" ]; then
	say deps "ready, but for:$missing (see above)"
else
	say deps "ready"
fi
