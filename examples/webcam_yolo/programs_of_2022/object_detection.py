"""Find objects in JPEGs: an operator as it was written in 2022, but for the model."""

import os
from enum import Enum
from typing import Callable

import cv2
import numpy as np

from dora_rt.nodes.object_detection import cache_dir
from dora_rt.nodes.object_detection.detector import load_detector
from dora_rt.nodes.object_detection.models import find_model


class DoraStatus(Enum):
    CONTINUE = 0
    STOP = 1


class Operator:
    """
    Infer object from images
    """

    def __init__(self):
        model = os.environ.get("MODEL", "yolox_nano")
        self.model = load_detector(find_model(model, cache_dir(os.environ)))

    def on_input(
        self,
        dora_input: dict,
        send_output: Callable[[str, bytes], None],
    ) -> DoraStatus:
        """Handle image
        Args:
            dora_input (dict): Dict containing the "id", "data", and "metadata"
            send_output (Callable[[str, bytes]]): Function enabling sending output back to dora.
        """

        frame = np.frombuffer(dora_input["data"], dtype="uint8")
        frame = cv2.imdecode(frame, -1)

        results = self.model.detect(frame)
        arrays = np.array(results, dtype="float32").tobytes()
        send_output("bbox", arrays, dora_input["metadata"])
        return DoraStatus.CONTINUE
