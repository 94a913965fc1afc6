"""Installs the system packages that the installed Qt lacks on Debian and Ubuntu, and says so.

PySide6 brings Qt but not the X11, GL and font libraries that Qt loads from the system. What is missing is
not guessed: the dynamic linker is asked about the libraries and plugins that the window uses. Where
nothing is missing this does nothing; where apt-get is not there it names what to install.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

LIBRARIES = (
    "Qt/lib/libQt6Core.so.6",
    "Qt/lib/libQt6Gui.so.6",
    "Qt/lib/libQt6Widgets.so.6",
    "Qt/lib/libQt6Svg.so.6",
    "Qt/lib/libQt6XcbQpa.so.6",
    "Qt/plugins/platforms/libqxcb.so",
    "Qt/plugins/platforms/libqoffscreen.so",
    "Qt/plugins/platforms/libqwayland.so",
    "Qt/plugins/xcbglintegrations/libqxcb-glx-integration.so",
    "Qt/plugins/xcbglintegrations/libqxcb-egl-integration.so",
    "Qt/plugins/iconengines/libqsvgicon.so",
)

# The Debian package of each library that Qt is known to take from the system, by the library's name.
PACKAGE_BY_LIBRARY = {
    "libEGL.so.1": ("libegl1",),
    "libGL.so.1": ("libgl1",),
    "libGLX.so.0": ("libglx0",),
    "libOpenGL.so.0": ("libopengl0",),
    "libX11-xcb.so.1": ("libx11-xcb1",),
    "libX11.so.6": ("libx11-6",),
    "libdbus-1.so.3": ("libdbus-1-3",),
    "libfontconfig.so.1": ("libfontconfig1",),
    "libfreetype.so.6": ("libfreetype6",),
    "libglib-2.0.so.0": ("libglib2.0-0t64", "libglib2.0-0"),
    "libgthread-2.0.so.0": ("libglib2.0-0t64", "libglib2.0-0"),
    "libwayland-client.so.0": ("libwayland-client0",),
    "libwayland-cursor.so.0": ("libwayland-cursor0",),
    "libwayland-egl.so.1": ("libwayland-egl1",),
    "libxcb-cursor.so.0": ("libxcb-cursor0",),
    "libxcb-glx.so.0": ("libxcb-glx0",),
    "libxcb-icccm.so.4": ("libxcb-icccm4",),
    "libxcb-image.so.0": ("libxcb-image0",),
    "libxcb-keysyms.so.1": ("libxcb-keysyms1",),
    "libxcb-randr.so.0": ("libxcb-randr0",),
    "libxcb-render-util.so.0": ("libxcb-render-util0",),
    "libxcb-render.so.0": ("libxcb-render0",),
    "libxcb-shape.so.0": ("libxcb-shape0",),
    "libxcb-shm.so.0": ("libxcb-shm0",),
    "libxcb-sync.so.1": ("libxcb-sync1",),
    "libxcb-util.so.1": ("libxcb-util1",),
    "libxcb-xfixes.so.0": ("libxcb-xfixes0",),
    "libxcb-xinerama.so.0": ("libxcb-xinerama0",),
    "libxcb-xinput.so.0": ("libxcb-xinput0",),
    "libxcb-xkb.so.1": ("libxcb-xkb1",),
    "libxcb.so.1": ("libxcb1",),
    "libxkbcommon-x11.so.0": ("libxkbcommon-x11-0",),
    "libxkbcommon.so.0": ("libxkbcommon0",),
}
FONT_PACKAGE = "fonts-dejavu-core"
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts")


def missing_libraries() -> set[str]:
    """Names of shared libraries that the linker cannot find for the installed Qt."""
    spec = importlib.util.find_spec("PySide6")
    if spec is None or spec.origin is None:
        sys.exit("PySide6 is not installed in this environment")
    root = Path(spec.origin).parent
    files = [str(root / name) for name in LIBRARIES if (root / name).exists()]
    out = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(\S+) => not found", out))


def has_font() -> bool:
    """Whether any scalable font is installed: without one the window has no letters."""
    return any(
        next(folder.rglob(pattern), None) is not None
        for folder in (Path(name).expanduser() for name in FONT_FOLDERS)
        for pattern in ("*.ttf", "*.otf", "*.ttc")
    )


def available(packages: tuple[str, ...]) -> str:
    """The first of several names of one package that this release of the system knows."""
    for package in packages[:-1]:
        shown = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
        if shown.returncode == 0:
            return package
    return packages[-1]


def run(command: list[str]) -> None:
    """Run it; where it fails, its own words were on standard error and its status is ours."""
    status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    if status:
        sys.exit(f"{' '.join(command)} ended with status {status}")


def main() -> None:
    """Look, say what is missing, install it, and look again."""
    if not sys.platform.startswith("linux"):
        return
    libraries = missing_libraries()
    fonts = has_font()
    if not libraries and fonts:
        return
    lacking = sorted(libraries) + ([] if fonts else ["any font"])
    print(f"Qt lacks on this system: {', '.join(lacking)}", flush=True)
    if shutil.which("apt-get") is None:
        sys.exit("No apt-get here: install your system's packages for these and run make again.")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    may_install = not sudo or shutil.which("sudo") is not None
    if may_install:
        run([*sudo, "apt-get", "update", "-qq"])
    known = set(libraries & PACKAGE_BY_LIBRARY.keys())
    # A library that the table does not know usually comes with the packages that the table does know.
    candidates = [PACKAGE_BY_LIBRARY[name] for name in (known if known == libraries else PACKAGE_BY_LIBRARY)]
    packages = sorted({available(names) for names in candidates} | (set() if fonts else {FONT_PACKAGE}))
    if not may_install:
        sys.exit(f"There is no sudo here to install them. As root: apt-get install {' '.join(packages)}")
    print(f"Installing {'with sudo ' if sudo else ''}from the system's packages: {' '.join(packages)}", flush=True)
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    run([*sudo, *install, *packages])
    if still := missing_libraries():
        sys.exit(f"Qt still lacks: {', '.join(sorted(still))}. Install the packages that hold these and run make again.")


if __name__ == "__main__":
    main()
