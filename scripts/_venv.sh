# shellcheck shell=bash
# Find Python and keep .venv right; sourced by scripts/run, scripts/test and scripts/check.
#
# Owns:      .venv and the stamp in it that says what was installed from which pyproject.toml.
# Elsewhere: what is run with it (the script that sources this file); system packages for CI (.ci/run).

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
STAMP=$VENV/clb-installed
DISTRIBUTION_PYTHON=/usr/bin/python3.11

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# 3.11 comes first because it is the version that the figures in docs/ were measured with, and the distribution's
# build of it before one in PATH: it is made with profile and link-time optimisation, which one built by hand or by
# a version manager most often is not, and that is worth a tenth of clb's CPU time.
find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON does not start a Python of 3.11 or newer"
        command -v "$PYTHON"
        return
    fi
    for candidate in "$DISTRIBUTION_PYTHON" python3.11 python3 python3.12 python3.13 python3.14; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "needs Python 3.11 or newer. On Debian 12 or newer: apt-get install python3 python3-venv"
}

# Debian and Ubuntu take ensurepip out of Python and put it into a package of its own.
ensure_venv_module() {
    local python=$1 package
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    package=python$(version_of "$python")-venv
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "$python cannot make virtual environments yet. Run this, then try again: sudo apt-get update && sudo apt-get install $package"
    fi
    say "installing $package, which Python needs to make virtual environments"
    apt-get update -qq || say "apt-get update failed; trying with the package lists that are there"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$package" >/dev/null ||
        fail "could not install $package: run 'apt-get install $package' to see why"
}

venv_works() { "$VENV/bin/python" -m pip --version >/dev/null 2>&1 && is_new_enough "$VENV/bin/python"; }

# Scripts in .venv/bin name its full path, so one that was moved or copied is made anew.
was_moved() { [ -f "$STAMP" ] && [ "$(sed -n 1p "$STAMP")" != "$ROOT" ]; }

is_other_python() { [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$(version_of "$VENV/bin/python")" ]; }

make_venv() {
    local python
    if ! was_moved && venv_works && ! is_other_python; then return; fi
    python=$(find_python)
    ensure_venv_module "$python"
    say "making .venv with $python ($(version_of "$python"))"
    "$python" -m venv --clear "$VENV"
}

# prepare_venv run|dev: afterwards $VENV has clb and what that level needs.
# `dev` holds all of `run`, and a .venv that has it is never taken back to `run`.
prepare_venv() {
    local level=$1 digest had_level=none requirement
    digest=$(sha256sum <"$ROOT/pyproject.toml")
    [ -f "$STAMP" ] && had_level=$(sed -n 3p "$STAMP")
    [ "$had_level" = dev ] && level=dev
    # Two scripts started at once must not install into each other: the lock is on a file that is there anyway.
    exec 9<"$ROOT/pyproject.toml"
    flock 9
    if ! printf '%s\n' "$ROOT" "$digest" "$level" | cmp -s - "$STAMP" || ! [ -x "$VENV/bin/python" ] || is_other_python; then
        make_venv
        rm -f "$STAMP"
        requirement=$ROOT
        [ "$level" = dev ] && requirement="${ROOT}[dev]"
        say "installing clb and its dependencies into .venv (the first time takes a minute)"
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$requirement" ||
            fail "pip could not install the dependencies: see its message above"
        printf '%s\n' "$ROOT" "$digest" "$level" >"$STAMP"
    fi
    exec 9<&-
}
