#!/usr/bin/env bash
# Installs the Debian package into a root of its own, looks at what is there and whether it works, then removes and purges it.
# Usage: tools/packaging/check-deb.sh [PACKAGE.deb]; without one the newest below target/debian is taken.
# Needs to be root, debootstrap, and a Debian mirror for the first run, which makes the root; later runs copy it. Nothing
# outside target/deb-check is changed. STRATA_DEB_MIRROR and STRATA_DEB_SUITE choose another mirror and release than debootstrap's
# own and this machine's. The last line is "N passed, N failed, N skipped"; the status says whether all passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export LC_ALL=C.UTF-8

cannot() {
    echo "check-deb: $*" >&2
    exit 2
}

target=${CARGO_TARGET_DIR:-target}
package=${1:-$({ ls -t "$target"/debian/strata_*.deb 2>/dev/null || true; } | head -n 1)}
[ -f "$package" ] || cannot "there is no package; tools/packaging/build-deb.sh makes one"
[ "$(id -u)" = 0 ] || cannot "only root can make a root directory with its devices and owners"
command -v debootstrap >/dev/null || cannot "debootstrap is not installed (apt-get install debootstrap)"
unshare --mount true 2>/dev/null || cannot "this machine allows no mount namespace (unshare --mount)"
suite=${STRATA_DEB_SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")}

mkdir -p "$target/deb-check"
place=$(cd "$target/deb-check" && pwd)
base=$place/base-$suite
root=$place/root

if [ ! -e "$base/made" ]; then
    rm -rf "$base"
    echo "check-deb: making a root of $suite in $base"
    # ${...:+...}: without a mirror debootstrap takes its own.
    debootstrap --variant=minbase --include=systemd,man-db "$suite" "$base" ${STRATA_DEB_MIRROR:+"$STRATA_DEB_MIRROR"} \
        >"$place/debootstrap.log" 2>&1 || cannot "debootstrap failed: $(tail -n 3 "$place/debootstrap.log" | tr '\n' ' ')"
    touch "$base/made"
fi
rm -rf "$root"
cp -a "$base" "$root"
rm "$root/made"
cp "$package" "$root/tmp/strata.deb"

# What runs a command inside, with /proc and /sys, whose mounts end with it.
inside=(unshare --mount --propagation private sh -c
    'mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && exec chroot "$0" "$@"' "$root")
in_root() { "${inside[@]}" "$@"; }

passed=0 failed=0 skipped=0
# check WHAT COMMAND...: its output is shown when it fails.
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "ok      $what"
    else
        failed=$((failed + 1))
        echo "FAILED  $what"
        [ -z "$said" ] || sed 's/^/        /' <<<"$said"
    fi
}
skip() {
    skipped=$((skipped + 1))
    echo "skipped $1"
}

# Every file of the root, with what dpkg and the system keep for themselves left out.
files_in_root() {
    (cd "$root" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./tmp -o -path ./var/lib/dpkg -o -path ./var/cache \
        -o -path ./var/log \) -prune -o -print | LC_ALL=C sort)
}

is() { # is PATH MODE OWNER
    local found
    found=$(in_root stat -c '%a %U:%G' "$1") && [ "$found" = "$2 $3" ] || { echo "$1 is $found, not $2 $3" && false; }
}
installs() { in_root dpkg --install /tmp/strata.deb; }
says_its_version() {
    local version
    version=$(dpkg-deb --field "$package" Version)
    in_root "$1" "$2" | grep -F "${version%-*}"
}
renders() { # Its warnings are errors.
    local said
    said=$(in_root sh -c "MANWIDTH=100 man --warnings=w -E UTF-8 -l $1 2>&1 >/tmp/page" && grep -c . "$root/tmp/page" >/dev/null)
    [ -z "$said" ] || { echo "$said" && false; }
    grep -q '^NAME' "$root/tmp/page"
}
completes() { # As bash does it: strata ins<TAB>.
    in_root bash -c 'source /usr/share/bash-completion/completions/strata
        COMP_WORDS=(strata ins) COMP_CWORD=1
        $(complete -p strata | sed -E "s/.*-F ([^ ]+).*/\1/") strata ins strata && [ "${COMPREPLY[*]}" = inspect ]'
}
starts_nothing() { ! find "$root/etc/systemd/system" "$root/run" -name '*strata*' | grep .; }
as_strata=(setpriv --reuid=strata --regid=strata --init-groups)
checks_configuration() { in_root "${as_strata[@]}" strata config check --config /etc/strata/strata.toml; }
serves() { # As the unit starts it, at ports that the system chooses; then it stops as it is told.
    local code=1
    # `timeout` passes on the signal to stop (once, as --foreground says: a second one ends the server at once), and ends a
    # server that this script could not end.
    timeout --foreground --kill-after=60 120 "${inside[@]}" "${as_strata[@]}" strata server --config /etc/strata/strata.toml \
        --s3-addr 127.0.0.1:0 --metrics-addr 127.0.0.1:0 --capacity 1GiB >"$place/server.log" 2>&1 &
    local server=$!
    for _ in $(seq 60); do
        if in_root strata status --config /etc/strata/strata.toml >"$place/status.log" 2>&1; then code=0 && break; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.5
    done
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" || code=1
    [ $code = 0 ] || { cat "$place/server.log" "$place/status.log" && false; }
}
verifies_units() {
    local said
    said=$(in_root systemd-analyze verify /usr/lib/systemd/system/strata.service /usr/lib/systemd/system/strata@one.service 2>&1) || true
    ! grep -i strata <<<"$said"
}
makes_user_anew() { # What the two files say, in an empty root.
    local empty=$root/tmp/empty
    mkdir -p "$empty/etc"
    in_root systemd-sysusers --root=/tmp/empty /usr/lib/sysusers.d/strata.conf && grep '^strata:' "$empty/etc/passwd" &&
        in_root systemd-tmpfiles --root=/tmp/empty --create /usr/lib/tmpfiles.d/strata.conf &&
        [ "$(stat -c %a "$empty/etc/strata") $(stat -c %a "$empty/var/lib/strata")" = "750 700" ]
}
enables() { in_root systemctl enable strata.service strata@one.service; }
is_disabled() { ! find "$root/etc/systemd/system" -name 'strata*' | grep .; }
keeps_an_edited_configuration() {
    echo "# edited" >>"$root/etc/strata/strata.toml"
    in_root dpkg --install /tmp/strata.deb && tail -n 1 "$root/etc/strata/strata.toml" | grep '^# edited$' &&
        is /etc/strata/strata.toml 640 root:strata
}
removes() { in_root dpkg --remove strata && [ -f "$root/etc/strata/strata.toml" ] && [ ! -e "$root/usr/bin/strata" ]; }
purges() { in_root dpkg --purge strata && ! in_root dpkg --status strata; }
leaves_the_data_alone() { [ "$(stat -c %a "$root/var/lib/strata")" = 700 ] && [ -s "$root/var/lib/strata/data/strata.device" ]; }
leaves_nothing_else() {
    ! diff <(echo "$before") <(files_in_root) | grep '^[<>]' | grep -v -e '^> ./var/lib/strata' -e '^> ./etc/[a-z]*-$'
}

before=$(files_in_root)
check "it installs" installs
for binary in strata strata-bench; do
    check "/usr/bin/$binary is there" is "/usr/bin/$binary" 755 root:root
done
check "strata says the version of the package" says_its_version strata version
check "strata help works" in_root strata help
check "strata-bench says the version of the package" says_its_version strata-bench --version
for file in CONFIGURATION.md OPERATION.md S3.md SEMANTICS.md alerts.yml copyright; do
    check "$file is there" is "/usr/share/doc/strata/$file" 644 root:root
done
check "the user strata is there" in_root sh -c 'getent passwd strata | grep ":/var/lib/strata:.*nologin"'
check "/etc/strata is not for others" is /etc/strata 750 root:strata
check "the configuration is not for others" is /etc/strata/strata.toml 640 root:strata
check "/var/lib/strata is the server's alone" is /var/lib/strata 700 strata:strata
check "sysusers.d and tmpfiles.d make the same in an empty root" makes_user_anew
check "nothing is enabled or started" starts_nothing
check "systemd finds nothing wrong with the units" verifies_units
pages=$(cd "$root" && find usr/share/man/man1 -name 'strata*')
for page in $pages; do
    check "${page##*/} renders" renders "/$page"
done
check "every command has a page" in_root sh -c 'for command in server admin status config inspect version; do
    man --where "strata-$command" || exit 1; done'
check "bash reads its completions" bash -n "$root/usr/share/bash-completion/completions/strata"
check "bash completes a command" completes
for shell in zsh fish; do
    [ $shell = zsh ] && file=zsh/vendor-completions/_strata || file=fish/vendor_completions.d/strata.fish
    if command -v $shell >/dev/null; then
        check "$shell reads its completions" $shell -n "$root/usr/share/$file"
    else
        skip "$shell reads its completions: there is no $shell here"
    fi
done
check "the user strata can read the configuration" checks_configuration
check "a server starts, is healthy and stops" serves
check "units can be enabled" enables
check "an upgrade keeps an edited configuration" keeps_an_edited_configuration
check "removing takes the programs and keeps the configuration" removes
check "removing disables what was enabled" is_disabled
check "purging takes the configuration" purges
check "purging leaves the data alone" leaves_the_data_alone
check "purging leaves nothing else" leaves_nothing_else

[ $failed != 0 ] || rm -rf "$root"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
