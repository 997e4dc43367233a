#!/usr/bin/env python3
"""Send a JPEG for every tick, for twenty seconds: a custom node as it was written in 2022."""

import os
import time

import cv2
from dora import Node

node = Node()
video_capture = cv2.VideoCapture(os.environ.get("VIDEO", 0))

start = time.time()

# Run for 20 seconds
while time.time() - start < 20:
    # Wait for the next tick
    node.next()
    ret, frame = video_capture.read()
    if not ret:
        break
    node.send_output("image", cv2.imencode(".jpg", frame)[1].tobytes())

video_capture.release()
