#!/bin/sh
# Makes the virtual environment named by the first argument with the first Python >= 3.11 found. Debian ships
# venv apart from Python: where it is missing it is installed, with sudo where we are not root.
set -eu

venv=$1
python=
for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "KafkaLab needs Python 3.11 or newer; none was found. Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi

if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "$python has no venv module; install your system's package for it and run make again." >&2
        exit 1
    fi
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    if [ -n "$sudo" ] && ! command -v sudo >/dev/null 2>&1; then
        echo "$python lacks venv, and there is no sudo here to install it. As root: apt-get install $package" >&2
        exit 1
    fi
    echo "$python lacks venv: installing $package${sudo:+ with sudo} ..."
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
fi

echo "Making $venv with $("$python" -V) ..."
"$python" -m venv "$venv"
