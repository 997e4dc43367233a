"""Plays a remote model: takes a JPEG file, and answers {"boxes": [[x1, y1, x2, y2, 0.9, 0], ...]}.

It finds what moves against the mean of the pictures so far; put a model in its place.
"""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer

import cv2
import numpy as np

PORT = 8123
SMALLEST = 1500  # pixels


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    background = cv2.createBackgroundSubtractorMOG2(varThreshold=80, detectShadows=False)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        answer = json.dumps({"boxes": self.find(picture)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def find(self, picture: np.ndarray) -> list[list[float]]:
        moving = cv2.medianBlur(self.background.apply(picture), 7)
        moving = cv2.dilate(moving, np.ones((15, 15)))
        outlines, _ = cv2.findContours(moving, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        boxes = []
        for left, top, width, height in map(cv2.boundingRect, outlines):
            if width * height >= SMALLEST:
                boxes.append([left, top, left + width, top + height, 0.9, 0])
        return boxes

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
