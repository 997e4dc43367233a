"""Turn a sample into the body of a request, in the form that the service takes."""

from __future__ import annotations

import base64
import io
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from dora_rt.errors import DoraRtError
from dora_rt.picture import NoPictureError, PictureFile, described, picture_of, read_picture

from ..json_values import json_bytes


class Form(Enum):
    """How a sample travels."""

    AUTO = "auto"
    JPEG = "jpeg"
    PNG = "png"
    MULTIPART = "multipart"
    JSON = "json"
    NPY = "npy"
    RAW = "raw"
    OPENAI = "openai"
    OLLAMA = "ollama"


ANSWER_PATHS = {Form.OPENAI: "choices.0.message.content", Form.OLLAMA: "response"}
"""Where the text is in the answers of these services."""


class RequestError(DoraRtError):
    """A sample cannot be sent in this form."""


@dataclass(frozen=True, slots=True)
class Request:
    """A body, and what it is."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class RequestForm:
    """How samples become requests.

    Attributes:
        form: which body.
        quality: of the JPEG files that pictures become.
        longest_side: pixels; a larger picture is made smaller; 0: never.
        model: name of the model, for services that have several.
        field: name of the file in a form of HTML.
        template: the text of a JSON body of one's own, with words such as `$PICTURE_BASE64`.
    """

    form: Form = Form.AUTO
    quality: int = 85
    longest_side: int = 0
    model: str = ""
    field: str = "file"
    template: str | None = None

    def make(self, input_id: str, value: Any, metadata: Mapping[str, Any], prompt: str) -> Request:
        """Return the request for a sample.

        Raises:
            RequestError: it is not what this form is for.
        """
        if self.template is not None:
            return self._from_template(value, metadata, prompt)
        match self._form_of(value, metadata):
            case Form.JPEG:
                return Request(self._file(value, metadata, "jpeg"), "image/jpeg")
            case Form.PNG:
                return Request(self._file(value, metadata, "png"), "image/png")
            case Form.MULTIPART:
                return self._multipart(value, metadata, prompt)
            case Form.NPY:
                return Request(_npy(_array(value)), "application/octet-stream")
            case Form.RAW:
                raw = value if isinstance(value, bytes) else _array(value).tobytes()
                return Request(raw, "application/octet-stream")
            case Form.OPENAI:
                return _json_request(self._openai(value, metadata, prompt))
            case Form.OLLAMA:
                return _json_request(self._ollama(value, metadata, prompt))
            case _:
                fields = {input_id: self._json_value(value, metadata)}
                return _json_request({**fields, **({"prompt": prompt} if prompt else {})})

    def _form_of(self, value: Any, metadata: Mapping[str, Any]) -> Form:
        if self.form is not Form.AUTO:
            return self.form
        return Form.JPEG if is_picture(value, metadata) else Form.JSON

    def _file(self, value: Any, metadata: Mapping[str, Any], kind: str) -> bytes:
        """Return a picture as a file; one that is of this kind already stays as it is."""
        import cv2

        try:
            found = read_picture(value, metadata)
            is_small = not self.longest_side or max(found.size) <= self.longest_side
            if isinstance(found, PictureFile) and found.kind == kind and is_small:
                return bytes(found.content)
            picture = picture_of(value, metadata)
        except NoPictureError as error:
            raise RequestError(str(error)) from error
        if not is_small:
            factor = self.longest_side / max(found.size)
            size = tuple(max(1, round(side * factor)) for side in found.size)
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        options = [cv2.IMWRITE_JPEG_QUALITY, self.quality] if kind == "jpeg" else []
        is_done, content = cv2.imencode(f".{kind}", picture, options)
        if not is_done:
            raise RequestError(f"OpenCV cannot write {described(picture)} as {kind}")
        return content.tobytes()

    def _base64(self, value: Any, metadata: Mapping[str, Any]) -> str:
        return base64.b64encode(self._file(value, metadata, "jpeg")).decode()

    def _json_value(self, value: Any, metadata: Mapping[str, Any]) -> Any:
        if is_picture(value, metadata):
            return self._base64(value, metadata)
        text = text_of(value)
        return _numbers(value).tolist() if text is None else text

    def _multipart(self, value: Any, metadata: Mapping[str, Any], prompt: str) -> Request:
        boundary = secrets.token_hex(16)
        parts = []
        fields = {"prompt": prompt, "model": self.model}
        for name, text in fields.items():
            if text:
                head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
                parts.append(head.encode() + text.encode(errors="replace") + b"\r\n")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{self.field}"; '
            'filename="picture.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        )
        parts.append(head.encode() + self._file(value, metadata, "jpeg") + b"\r\n")
        parts.append(f"--{boundary}--\r\n".encode())
        return Request(b"".join(parts), f"multipart/form-data; boundary={boundary}")

    def _openai(self, value: Any, metadata: Mapping[str, Any], prompt: str) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": prompt}] if prompt else []
        if is_picture(value, metadata):
            url = f"data:image/jpeg;base64,{self._base64(value, metadata)}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        else:
            content.append({"type": "text", "text": self._text(value)})
        return {"model": self.model, "messages": [{"role": "user", "content": content}]}

    def _ollama(self, value: Any, metadata: Mapping[str, Any], prompt: str) -> dict[str, Any]:
        fields = {"model": self.model, "prompt": prompt, "stream": False}
        if is_picture(value, metadata):
            return {**fields, "images": [self._base64(value, metadata)]}
        return {**fields, "prompt": f"{prompt}\n{self._text(value)}".strip()}

    def _text(self, value: Any) -> str:
        text = text_of(value)
        return json_bytes(_numbers(value).tolist()).decode() if text is None else text

    def _from_template(self, value: Any, metadata: Mapping[str, Any], prompt: str) -> Request:
        """Fill the words of a template; each stands for a whole value, or within a text."""
        template = self.template or ""
        words: dict[str, Any] = {"$PROMPT": prompt, "$MODEL": self.model}
        if "$PICTURE" in template:
            encoded = self._base64(value, metadata)
            words["$PICTURE_BASE64"] = encoded
            words["$PICTURE_URL"] = f"data:image/jpeg;base64,{encoded}"
        if "$VALUES" in template or "$SHAPE" in template:
            array = _numbers(value)
            words["$VALUES"] = array.tolist()
            words["$FLAT_VALUES"] = array.ravel().tolist()
            words["$SHAPE"] = list(array.shape)
        if "$TEXT" in template:
            words["$TEXT"] = self._text(value)
        return _json_request(_filled(json.loads(template), words))


def is_picture(value: Any, metadata: Mapping[str, Any]) -> bool:
    """Return whether a sample is a picture, and not another array or a text."""
    try:
        read_picture(value, metadata)
    except NoPictureError:
        return False
    return True


def text_of(value: Any) -> str | None:
    """Return the text of a sample: bytes in UTF-8, or an array of Arrow of texts; else None."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return None
    if hasattr(value, "to_pylist"):
        found = value.to_pylist()
        if found and all(isinstance(one, str) for one in found):
            return "\n".join(found)
    return None


def _filled(node: Any, words: Mapping[str, Any]) -> Any:
    match node:
        case dict():
            return {key: _filled(value, words) for key, value in node.items()}
        case list():
            return [_filled(value, words) for value in node]
        case str() if node in words:
            return words[node]
        case str() if "$" in node:
            for word, value in words.items():
                if isinstance(value, str):
                    node = node.replace(word, value)
    return node


def _array(value: Any) -> np.ndarray[Any, Any]:
    if not isinstance(value, np.ndarray):
        raise RequestError(f"{described(value)} cannot be sent in this form; an array can")
    if value.dtype.hasobject:
        raise RequestError(f"{described(value)} cannot be sent; expected numbers")
    return value


def _numbers(value: Any) -> np.ndarray[Any, Any]:
    """Return an array of numbers that JSON knows."""
    array = _array(value)
    if array.dtype.kind not in "biuf":
        raise RequestError(f"{described(value)} is nothing that JSON knows; --form npy sends it")
    return array


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _json_request(value: Any) -> Request:
    return Request(json_bytes(value), "application/json")
