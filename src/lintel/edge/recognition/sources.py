"""Where pictures come from: an RTSP stream, a USB camera, a video file, a picture, a folder that pictures come into.

Every wait is bounded, and a source that does not keep to that is ended together with its process.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

import cv2
import numpy as np

from lintel.edge.camera_wire import Start
from lintel.edge.recognition.codes import Grey
from lintel.edge.recognition.lag import Lag

PICTURES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_FILE: Final = 32 * 1024 * 1024
"""Bytes of a picture file; a larger one counts as damaged."""
MAX_PIXELS: Final = 40_000_000
LOOK_S: Final = 0.05
"""How often a folder or picture file is looked at."""
_FFMPEG: Final = {
    "rtsp_transport": "tcp",  # UDP loses pictures where a building's network is busy
    "flags": "low_delay",  # and not fflags=nobuffer: it throws the first key frame away, and all up to the next one
    "fpsprobesize": "0",  # else opening waits for 20 pictures, to measure a rate that nobody asks for
}


class Gone(Exception):
    """The source is not there, or no more. `refused`: it answered, and said no."""

    def __init__(self, why: str, *, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


class Source(Protocol):
    """Something that gives pictures. Used from one thread."""

    damaged: int
    """Pictures that could not be read."""

    def open(self) -> None:
        """Begin. Raises Gone."""
        ...

    def frames(self, wanted: Callable[[], bool]) -> Iterator[tuple[Grey, float] | None]:
        """Pictures and when they were taken (monotonic s), for ever; None where none was `wanted`. Raises Gone."""
        ...


def ready(start: Start) -> None:
    """Set what OpenCV and FFmpeg read from the environment, before the first source is opened."""
    protocols = "file" if start.kind == "file" else "rtsp,rtsps,rtp,srtp,tcp,tls"
    options = _FFMPEG | {"protocol_whitelist": protocols}
    os.environ |= {
        "OPENCV_FFMPEG_CAPTURE_OPTIONS": "|".join(f"{k};{v}" for k, v in options.items()),
        "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": str(max(1, round(start.read_s))),
        "OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS),
    }
    cv2.setNumThreads(1)


def source(start: Start, log: Callable[[], bytes]) -> Source:
    """The source that `start` names. `log`: what FFmpeg said so far, where alone it says why it can not open one."""
    if start.kind != "file":
        return Stream(start, log)
    path = Path(start.source)
    if path.is_dir() or path.suffix.lower() in PICTURES:
        return Pictures(path, 1 / start.fps)
    return Stream(start, log)


class Stream:
    """What OpenCV reads as video. A file plays at its own speed, over and over."""

    def __init__(self, start: Start, log: Callable[[], bytes]) -> None:
        self.damaged = 0
        self._start, self._log = start, log
        self._video: cv2.VideoCapture | None = None

    def open(self) -> None:
        """See `Source`."""
        start = self._start
        if start.kind != "rtsp" and not Path(start.source).exists():
            raise Gone("there is no such device" if start.kind == "usb" else "there is no such file")
        params = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(start.open_s * 1000)]
        params += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(start.read_s * 1000), cv2.CAP_PROP_N_THREADS, 1]
        backend = cv2.CAP_FFMPEG
        if start.kind == "usb":
            backend, params = cv2.CAP_V4L2, [cv2.CAP_PROP_BUFFERSIZE, 1]
            params += [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")]
            if start.width:
                params += [cv2.CAP_PROP_FRAME_WIDTH, start.width, cv2.CAP_PROP_FRAME_HEIGHT, start.height]
        video = cv2.VideoCapture(_address(start), backend, params)
        if not video.isOpened():
            raise _why(self._log())
        self._video = video

    def frames(self, wanted: Callable[[], bool]) -> Iterator[tuple[Grey, float] | None]:
        """See `Source`."""
        assert self._video is not None  # noqa: S101  it was opened
        lag, paced = Lag(), self._start.kind == "file"
        began, shown = time.monotonic(), 0
        while True:
            if not self._video.grab():
                if not (paced and shown):
                    raise Gone("no more pictures")
                self._video.release()
                self.open()
                began, shown = time.monotonic(), 0
                continue
            stamp, now = self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000, time.monotonic()
            shown += 1
            if paced:
                time.sleep(max(0.0, min(began + stamp - now, self._start.read_s)))
                taken = time.monotonic()
            else:
                taken = now - lag.of(stamp, now)
            yield self._picture(taken) if wanted() else None

    def _picture(self, taken: float) -> tuple[Grey, float] | None:
        assert self._video is not None  # noqa: S101  it was opened
        good, picture = self._video.retrieve()
        if not good or picture is None or picture.size == 0 or picture.shape[0] * picture.shape[1] > MAX_PIXELS:
            self.damaged += 1
            return None
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
        return np.ascontiguousarray(grey, dtype=np.uint8), taken


class Pictures:
    """A picture file, looked at over and over; or a folder, where each picture that comes in is looked at once.

    What lay in the folder before is old. A file that still grows is waited for.
    """

    def __init__(self, path: Path, every_s: float) -> None:
        self.damaged = 0
        self._path, self._every = path, every_s
        self._folder = path.is_dir()
        self._done: dict[str, tuple[int, int]] = {}
        self._growing: dict[str, tuple[int, int]] = {}

    def open(self) -> None:
        """See `Source`."""
        try:
            self._done = dict(self._list()) if self._folder else {}
            if not self._folder:
                self._path.stat()
        except OSError:
            raise Gone("there is no such picture or folder") from None

    def frames(self, wanted: Callable[[], bool]) -> Iterator[tuple[Grey, float] | None]:
        """See `Source`. A picture in a folder is given whether or not it is wanted: it comes once."""
        while True:
            try:
                if self._folder:
                    for name in self._new():
                        yield self._read(self._path / name)
                elif wanted():
                    yield self._read(self._path)
            except OSError:
                raise Gone("the picture or folder is gone") from None
            yield None
            time.sleep(LOOK_S)

    def _list(self) -> Iterator[tuple[str, tuple[int, int]]]:
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.lower().endswith(PICTURES) and not entry.name.startswith(".") and entry.is_file():
                    stat = entry.stat()
                    yield entry.name, (stat.st_mtime_ns, stat.st_size)

    def _new(self) -> list[str]:
        """Pictures that came since the last look and grow no more, the oldest first."""
        here = dict(self._list())
        fresh = {name: state for name, state in here.items() if self._done.get(name) != state}
        whole = sorted((state[0], name) for name, state in fresh.items() if self._growing.get(name) == state)
        self._growing = fresh
        self._done = {n: s for n, s in self._done.items() if n in here} | {name: fresh[name] for _, name in whole}
        return [name for _, name in whole]

    def _read(self, path: Path) -> tuple[Grey, float] | None:
        now = time.monotonic()
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        try:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
        except cv2.error:
            picture = None
        if picture is None or len(data) > MAX_FILE:
            self.damaged += 1
            return None
        return np.ascontiguousarray(picture, dtype=np.uint8), now


def _address(start: Start) -> str:
    """The address with the login in it: it stands in this process' memory only, and FFmpeg takes it out again."""
    scheme, colon, rest = start.source.partition("://")
    if start.kind != "rtsp" or not start.username:
        return start.source
    return f"{scheme}{colon}{quote(start.username, safe='')}:{quote(start.password, safe='')}@{rest}"


def _why(log: bytes) -> Gone:
    """Why a stream did not open, from FFmpeg's own words. Nothing of them is handed on: they name the address."""
    found = re.findall(rb"failed: (\d{3})", log)
    if not found:
        return Gone("it does not open")
    code = int(found[-1])
    return Gone(
        "wrong user name or password" if code == 401 else f"the camera answers {code}", refused=code in (401, 403)
    )
