"""Pixels -> codes, in a child process of its own: the only room that knows numpy, OpenCV and zxing-cpp.

    sources   a stream, a USB camera, pictures -> frames, the newest only
    lag       how old a frame is when it arrives
    codes     a frame -> the QR codes on it
    worker    the process: reads what to look at, says what it saw (`lintel.edge.camera_wire`)

Nothing here decides, and no picture is kept or written anywhere. Started by `drivers.camera`, imported by nobody.
"""
