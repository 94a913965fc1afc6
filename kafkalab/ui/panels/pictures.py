"""Any view as a picture: PNG as it is on the screen, SVG as it was drawn."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QPoint, QRect, QSize
from PySide6.QtGui import QPainter
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QWidget

from kafkalab.ui.scene.painted_view import PaintedView

PICTURE_FILTERS = "PNG (*.png);;SVG (*.svg)"
DOTS_PER_INCH = 96


def write_picture(view: QWidget, path: Path, title: str) -> None:
    """Write what ``view`` shows; raises OSError naming the file when it cannot be written."""
    if path.suffix.lower() == ".svg":
        _write_svg(view, path, title)
    elif not view.grab().toImage().save(str(path)):
        raise OSError(f"{path} could not be written as a picture")


def _write_svg(view: QWidget, path: Path, title: str) -> None:
    # The generator tells nobody when it cannot write: find out first, in words.
    path.write_bytes(b"")
    size: QSize = view.size()
    generator = QSvgGenerator()
    generator.setFileName(str(path))
    generator.setSize(size)
    generator.setViewBox(QRect(0, 0, size.width(), size.height()))
    generator.setResolution(DOTS_PER_INCH)
    generator.setTitle(title)
    painter = QPainter(generator)
    try:
        if isinstance(view, PaintedView):
            # Drawn anew as shapes and text, not copied from its prepared picture.
            view.render_to(painter)
        else:
            view.render(painter, QPoint())
    finally:
        painter.end()
