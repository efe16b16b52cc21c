"""Image folders through Pillow: a folder a class, every image one example of its pixels, 0 to 255."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.limits import foreign, optional
from backproof.data.rows import Image, Piece, Reading, Rows, rows_a_piece

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF"}
_FORMATS |= {".ppm": "PPM", ".pgm": "PPM", ".webp": "WEBP"}
_GREY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX")
_MOST_PIXELS, _MOST_INPUTS = 25_000_000, 1 << 20


class ImageRows(Rows):
    """The images below a folder, in the order of their names; the folders in it are the classes.

    Grey images have one channel, and if one of them is in colour, all have three. Sizes agree, or `reading.image` says to which
    size they are brought. The features are the pixels, row by row.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        optional("PIL.Image", "images", path)
        if reading.labelled and reading.target not in (None, "folder"):
            raise DataError(f"{path}: expected no target, the folders are the classes, received {reading.target!r}")
        self.path = path
        self._labelled = reading.labelled
        self._files = _files(path, reading.labelled)
        self.image = image = self._settled(reading.image)
        assert image.channels is not None
        self.features = tuple(str(k) for k in range(image.height * image.width * image.channels))
        self._rows = rows_a_piece(len(self.features))
        self.segments = -(-len(self) // self._rows)

    def __len__(self) -> int:
        return len(self._files)

    def _settled(self, wanted: Image | None) -> Image:
        """Size and channels, from the headers of all images."""
        first, colour = self._files[0], False
        size = None if wanted is None else (wanted.width, wanted.height)
        for file in self._files:
            with foreign(file, "an image"), _opened(file) as image:
                found, mode = image.size, image.mode
            if mode not in _GREY and mode not in _COLOUR:
                raise DataError(f"{file}: expected 8 bits a channel, received an image of mode {mode}")
            if found[0] * found[1] > _MOST_PIXELS:
                raise DataError(f"{file}: expected at most {_MOST_PIXELS:,} pixels, received {found[0]} x {found[1]}")
            colour |= mode in _COLOUR
            size = size or found
            if found != size and not (wanted and wanted.resize):
                like = f"like {first}" if wanted is None else "as the model was trained with"
                raise DataError(
                    f"{file}: expected {size[0]} x {size[1]} pixels, {like}, received {found[0]} x {found[1]}; "
                    "give a size that all are brought to (--image-size)"
                )
        assert size is not None
        channels = (wanted and wanted.channels) or (3 if colour else 1)
        if size[0] * size[1] * channels > _MOST_INPUTS:
            raise DataError(
                f"{first}: expected at most {_MOST_INPUTS:,} inputs, received {size[0]} x {size[1]} pixels; "
                "give a smaller size that all are brought to (--image-size)"
            )
        return Image(size[1], size[0], channels, bool(wanted and wanted.resize))

    def pieces(self, segment: int) -> Iterator[Piece]:
        start = segment * self._rows
        files = self._files[start : start + self._rows]
        x = np.stack([self._pixels(file) for file in files])
        labels = np.array([file.parent.name for file in files], dtype=object) if self._labelled else None
        yield Piece(start, x, labels)

    def _pixels(self, file: Path) -> Array:
        from PIL import Image as pillow

        wanted = self.image
        assert wanted is not None
        with foreign(file, "a whole image"), _opened(file) as image:
            if image.size[0] * image.size[1] > _MOST_PIXELS:
                raise ValueError("it has become larger")
            mode = "L" if wanted.channels == 1 else "RGB"
            if wanted.resize:
                image.draft(mode, (wanted.width, wanted.height))  # a JPEG is decoded at no more than the scale that is needed
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about transparency, which is left out
                picture = image.convert(mode)
            if picture.size != (wanted.width, wanted.height):
                if not wanted.resize:
                    raise ValueError(f"its size is {picture.size[0]} x {picture.size[1]}")
                picture = picture.resize((wanted.width, wanted.height), pillow.Resampling.BOX)
            return np.asarray(picture, dtype=np.uint8).reshape(-1)


def _opened(file: Path) -> Any:
    from PIL import Image as pillow

    return pillow.open(file, formats=(_FORMATS[file.suffix.lower()],))


def _files(folder: Path, labelled: bool) -> list[Path]:
    """The images in the folders of `folder`, or, where no labels are wanted, in itself; hidden files do not count."""
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found += [_image(file) for file in sorted(entry.iterdir()) if not file.name.startswith(".")]
        elif labelled:
            raise DataError(f"{entry}: expected folders, one a class, received a file beside them")
        else:
            found.append(_image(entry))
    if not found:
        raise DataError(f"{folder}: expected folders with images, one a class, received none")
    return found


def _image(file: Path) -> Path:
    if file.is_dir() or file.suffix.lower() not in _FORMATS:
        received = "a folder" if file.is_dir() else f"{file.suffix or 'no suffix'}"
        raise DataError(f"{file}: expected an image ({', '.join(_FORMATS)}), received {received}")
    return file
