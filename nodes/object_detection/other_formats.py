"""Name model files that are not ONNX, with the command that makes an ONNX file of each."""

from __future__ import annotations

from pathlib import Path

_ULTRALYTICS = "yolo export model={stem}.pt format=onnx"
_TORCH = (
    "a PyTorch file: export it as ONNX, for models of ultralytics by `pip install ultralytics`"
    " and `{command}`"
)
_FROM_PT = "{what}: export the .pt that it was made from, for models of ultralytics by `{command}`"
_KINDS = {
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".ckpt": _TORCH,
    ".safetensors": "PyTorch weights without their network: export the model as ONNX",
    ".torchscript": _FROM_PT.replace("{what}", "a TorchScript file"),
    ".engine": _FROM_PT.replace("{what}", "an engine of TensorRT, for one kind of GPU only")
    + "; TensorRT runs the ONNX file with --device tensorrt",
    ".tflite": _FROM_PT.replace("{what}", "a file of TensorFlow Lite")
    + ", or convert it by `python -m tf2onnx.convert --tflite {name} --output {stem}.onnx`",
    ".pb": "a TensorFlow graph: `python -m tf2onnx.convert --graphdef {name} --output {stem}.onnx`",
    ".h5": "a Keras file: `python -m tf2onnx.convert --keras {name} --output {stem}.onnx`",
    ".keras": "a Keras file: `python -m tf2onnx.convert --keras {name} --output {stem}.onnx`",
    ".mlpackage": _FROM_PT.replace("{what}", "a model of Core ML"),
    ".mlmodel": _FROM_PT.replace("{what}", "a model of Core ML"),
    ".xml": _FROM_PT.replace("{what}", "a model of OpenVINO") + "; --device openvino runs it",
    ".bin": _FROM_PT.replace("{what}", "weights of OpenVINO or ncnn"),
    ".param": _FROM_PT.replace("{what}", "a model of ncnn"),
    ".pdmodel": "a model of PaddlePaddle: `paddle2onnx --model_filename {name} --save_file"
    " {stem}.onnx`",
    ".weights": "weights of Darknet, whose layout is not supported",
    ".cfg": "a network of Darknet, whose layout is not supported",
    ".caffemodel": "a model of Caffe, whose layouts are not supported",
    ".rknn": _FROM_PT.replace("{what}", "a model for Rockchip's NPU"),
    ".hef": _FROM_PT.replace("{what}", "a model for Hailo's NPU"),
    ".blob": _FROM_PT.replace("{what}", "a model for Luxonis' cameras"),
    ".om": _FROM_PT.replace("{what}", "a model for Ascend's NPU"),
}
_SAME = {".trt": ".engine", ".plan": ".engine", ".hdf5": ".h5", ".jit": ".torchscript"}
_FOLDERS = (
    ("_openvino_model", ".xml"),
    ("_ncnn_model", ".param"),
    ("_saved_model", ".pb"),
    ("_paddle_model", ".pdmodel"),
    ("_rknn_model", ".rknn"),
)


def other_format(path: Path) -> str | None:
    """Return what a file or folder is and how to make ONNX of it; None if it may be ONNX."""
    suffix = _suffix_by_content(path) or path.suffix.lower()
    if path.is_dir():
        suffix = next((kind for end, kind in _FOLDERS if path.name.endswith(end)), suffix)
    text = _KINDS.get(_SAME.get(suffix, suffix))
    if text is None:
        return None
    stem = path.stem
    for end, _ in _FOLDERS:
        stem = stem.removesuffix(end)
    command = _ULTRALYTICS.format(stem=stem)
    return text.format(name=path.name, stem=stem, command=command)


def _suffix_by_content(path: Path) -> str | None:
    """Return the usual suffix of what the first bytes say; None if they say nothing."""
    try:
        with path.open("rb") as file:
            begin = file.read(16)
    except OSError:
        return None
    if begin.startswith(b"PK\x03\x04"):
        return ".keras" if path.suffix == ".keras" else ".pt"
    if begin[4:8] == b"TFL3":
        return ".tflite"
    if begin.startswith(b"\x89HDF\r\n"):
        return ".h5"
    if begin.startswith(b"<?xml"):
        return ".xml"
    return ".engine" if begin.startswith((b"ptrt", b"ftrt")) else None
