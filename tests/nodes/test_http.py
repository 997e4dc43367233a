"""The http node against real web servers: that answer, are busy, hang, drip, lie and vanish."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import logging
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import cv2
import numpy as np
import pytest
from dora_rt.nodes.http import asker as asker_module
from dora_rt.nodes.http import parse_options
from dora_rt.nodes.http.answers import AnswerError, AnswerReader
from dora_rt.nodes.http.asker import Asker, Patience, Question
from dora_rt.nodes.http.loop import Occasion, Plan, answer_into, run
from dora_rt.nodes.http.request_forms import Form, RequestError, RequestForm
from dora_rt.nodes.http.web_client import Address, Answer, ServiceError, WebClient

from dora_rt.testing import FakeNode, make_event
from tests.harness.flow import Flow
from tests.harness.waiting import eventually

PICTURE = np.full((30, 40, 3), (200, 30, 90), np.uint8)


class Asked:
    """One request that a server got."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.method = handler.command
        self.path = handler.path
        self.headers = dict(handler.headers.items())
        self.body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.connection = handler.client_address

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[BaseHTTPRequestHandler, Asked], None]


class Service:
    """A web server that does what its behaviour says, and keeps what it was asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.asked: list[Asked] = []
        self.behaviour = behaviour
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = Asked(self)
                service.asked.append(asked)
                with contextlib.suppress(ConnectionError):
                    service.behaviour(self, asked)

            do_PUT = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def say(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    content_type: str = "application/json",
    status: int = 200,
    **headers: str,
) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": content_type, **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def saying(body: bytes, *arguments: Any, **headers: str) -> Behaviour:
    return lambda handler, _: say(handler, body, *arguments, **headers)


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], Service]]:
    services: list[Service] = []

    def start(behaviour: Behaviour) -> Service:
        services.append(Service(behaviour))
        return services[-1]

    yield start
    for service in services:
        service.close()


def make_client(url: str, timeout_s: float = 5, **headers: str) -> WebClient:
    return WebClient(Address.parse(url), headers, timeout_s=timeout_s, max_answer_nbytes=100_000)


@contextlib.contextmanager
def client(url: str, timeout_s: float = 5, **headers: str) -> Iterator[WebClient]:
    with contextlib.closing(make_client(url, timeout_s, **headers)) as web:
        yield web


def ask(url: str, timeout_s: float = 5, **headers: str) -> Answer:
    with client(url, timeout_s, **headers) as web:
        return web.ask("POST", b"x", "text/plain")


Serve = Callable[[Behaviour], Service]


def test_connection_stays_open_and_one_that_the_server_closed_meanwhile_is_opened_again(
    serve: Serve,
):
    def behave(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        say(handler, b"{}")
        # Without a word, as servers do with connections that were idle.
        handler.close_connection = len(service.asked) == 2

    service = serve(behave)

    with client(service.url) as web:
        answers = [web.ask("POST", b"x", "text/plain").status for _ in range(4)]

    assert answers == [200] * 4
    ports = [asked.connection[1] for asked in service.asked]
    assert ports[0] == ports[1] != ports[2] == ports[3]


def test_answer_that_drips_in_is_given_up_when_the_time_is_over(serve: Serve):
    is_over = threading.Event()

    def behave(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not is_over.wait(0.02):
            handler.wfile.write(b".")

    service = serve(behave)

    # No pause between two bytes is as long as the time-out.
    with pytest.raises(ServiceError, match=r"no answer in time \(--timeout\)"):
        ask(service.url, timeout_s=0.3)

    is_over.set()


def test_service_that_hangs_is_given_up_when_the_time_is_over():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"

        with pytest.raises(ServiceError, match="no answer in time"):
            ask(url, timeout_s=0.2)


def test_service_that_is_not_there_or_no_web_service_is_told(serve: Serve):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/detect"
    with pytest.raises(ServiceError, match=f"{url}: Connection refused"):
        ask(url)

    def behave(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        handler.close_connection = True

    with pytest.raises(ServiceError, match="SSH"):
        ask(serve(behave).url)


def test_service_without_tls_is_told_as_such(serve: Serve):
    url = serve(saying(b"{}")).url.replace("http:", "https:")

    with pytest.raises(ServiceError, match=r"no TLS with it \(.*\); https:// is for what speaks"):
        ask(url)


def test_answer_that_is_compressed_unasked_is_unpacked_within_the_limit(serve: Serve):
    def asked_of(content: bytes, encoding: str) -> bytes:
        return ask(serve(saying(content, Content_Encoding=encoding)).url).body

    packed = gzip.compress(b"[1]")
    assert asked_of(packed, "gzip") == b"[1]"
    assert asked_of(zlib.compress(b"[1]"), "deflate") == b"[1]"
    assert asked_of(b"[1]", "identity") == b"[1]"
    assert asked_of(b"", "gzip") == b""
    for content, encoding, why in [
        (gzip.compress(bytes(100_001)), "gzip", "has more than 100000 bytes"),
        (packed[:-9], "gzip", "is cut: the gzip has no end"),
        (b"[1]", "gzip", "is no gzip"),
        (b"[1]", "br", "is encoded as 'br', unasked"),
    ]:
        with pytest.raises(ServiceError, match=f"its answer {why}"):
            asked_of(content, encoding)


def test_answer_without_end_is_refused(serve: Serve):
    service = serve(saying(b"x" * 100_001))

    with pytest.raises(ServiceError, match="its answer has more than 100000 bytes"):
        ask(service.url)


def test_answer_that_is_cut_is_told(serve: Serve):
    def behave(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.close_connection = True

    with pytest.raises(ServiceError, match="hung up in the middle of its answer"):
        ask(serve(behave).url)


def test_redirect_is_not_followed_with_the_token(serve: Serve):
    other = serve(saying(b"{}"))
    service = serve(saying(b"", "text/plain", 307, Location=f"{other.url}/elsewhere"))

    answer = ask(service.url, Authorization="Bearer abc")

    assert answer.status == 307
    assert other.asked == []
    with pytest.raises(AnswerError, match="another address, which is not followed"):
        AnswerReader().read(answer)


def test_proxy_of_the_environment_is_asked_for_other_machines_only(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    proxy, service = serve(saying(b'"by proxy"')), serve(saying(b'"here"'))
    monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:secret@"))
    monkeypatch.delenv("no_proxy", raising=False)

    far = ask("http://robot.example:8000/detect?x=1")
    near = ask(service.url)

    assert (far.body, near.body) == (b'"by proxy"', b'"here"')
    (asked,) = proxy.asked
    assert asked.path == "http://robot.example:8000/detect?x=1"
    assert asked.headers["Host"] == "robot.example:8000"
    assert base64.b64decode(asked.headers["Proxy-Authorization"].split()[1]) == b"me:secret"


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://user:p4ss@host/",
        "http://user:p4[ss@host/",
        "p4ss",
        "http://",
        "https://host:p4ss/",
        "http://host/a b",
    ],
)
def test_address_that_is_none_is_refused_without_its_secrets(
    text: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit, match="2"):
        parse_options(["--url", text], {})

    said = capsys.readouterr().err
    assert "--url" in said
    assert "p4" not in said


def test_secrets_are_taken_from_variables_and_sent_but_never_shown(
    serve: Serve, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    def behave(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        # As services do that show what they were sent.
        text = f"{asked.path} {unquote_plus(asked.path)} {encoded} {json.dumps(asked.headers)}"
        say(handler, text.encode() * 3, status=401)

    service = serve(behave)
    encoded = base64.b64encode(b"me:pass-word").decode()
    url = service.url.replace("//", "//me:pass-word@") + "/ask?v=1&key=in%20query%2F"
    words = ["--url", url, "--token-env", "MY_TOKEN", "--header-env", "X-Api-Key: MY_KEY"]
    with pytest.raises(SystemExit):
        parse_options(words, {"MY_KEY": "key-secret"})
    assert "the variable MY_TOKEN is not set" in capsys.readouterr().err
    options = parse_options(
        [*words, "--header", "X-Camera: front"],
        {"MY_TOKEN": "token-secret", "MY_KEY": "key-secret"},
    )
    web = WebClient(options.url, options.headers, timeout_s=5, max_answer_nbytes=10000)
    asker = Asker(
        web,
        "POST",
        options.request_form,
        options.answer_reader,
        Patience(1000, 0),
        lambda *_: None,
    )

    asker.offer(Question("image", PICTURE, {}, 0, ""))
    eventually(lambda: "status 401" in caplog.text)
    asker.finish(0)

    sent = service.asked[0].headers
    assert sent["Authorization"] == "Bearer token-secret"
    assert sent["X-Api-Key"] == "key-secret"
    assert sent["X-Camera"] == "front"
    assert service.asked[0].path == "/ask?v=1&key=in%20query%2F"
    assert "/ask?v=1&key=***" in caplog.text
    assert "is the token right (--token-env)?" in caplog.text
    for secret in ("token-secret", "key-secret", "pass-word", encoded, "in%20", "in query"):
        assert secret not in caplog.text
        assert secret not in repr(options.url)


def made(form: RequestForm, value: Any, prompt: str = "", **metadata: Any) -> Any:
    request = form.make("image", value, metadata, prompt)
    return json.loads(request.body) if "json" in request.content_type else request


def decoded(content: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def test_pictures_go_as_files_in_their_colours_and_small_enough():
    rgb = np.ascontiguousarray(PICTURE[:, :, ::-1])

    png = RequestForm(Form.PNG).make("image", rgb, {"encoding": "rgb8"}, "")
    jpeg = RequestForm(longest_side=20).make("image", PICTURE, {}, "")

    assert (png.content_type, jpeg.content_type) == ("image/png", "image/jpeg")
    np.testing.assert_array_equal(decoded(png.body), PICTURE)
    assert decoded(jpeg.body).shape == (15, 20, 3)
    again = RequestForm().make("image", jpeg.body, {}, "")
    assert again.body == jpeg.body, "a JPEG file is not made anew"


def test_services_with_a_form_of_their_own_get_it():
    openai = made(RequestForm(Form.OPENAI, model="m"), PICTURE, "What?")
    ollama = made(RequestForm(Form.OLLAMA, model="m"), PICTURE, "What?")
    text = made(RequestForm(Form.OLLAMA, model="m"), b"a log line", "Is it bad?")

    (message,) = openai["messages"]
    assert openai["model"] == "m"
    assert message["content"][0] == {"type": "text", "text": "What?"}
    head, encoded = message["content"][1]["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    assert decoded(base64.b64decode(encoded)).shape == (30, 40, 3)
    assert ollama["stream"] is False
    assert ollama["prompt"] == "What?"
    assert decoded(base64.b64decode(ollama["images"][0])).shape == (30, 40, 3)
    assert text["prompt"] == "Is it bad?\na log line"


def test_arrays_and_texts_go_as_json_or_as_numpy_writes_them():
    array = np.array([[1, 2.5]])

    assert made(RequestForm(), array) == {"image": [[1, 2.5]]}
    assert made(RequestForm(), "grün".encode(), "And?") == {"image": "grün", "prompt": "And?"}
    npy = RequestForm(Form.NPY).make("image", array, {}, "")
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.body)), array)
    raw = RequestForm(Form.RAW).make("image", array, {}, "")
    assert raw.body == array.tobytes()
    with pytest.raises(RequestError, match="no picture"):
        RequestForm(Form.JPEG).make("image", array, {}, "")
    with pytest.raises(RequestError, match="cannot be sent in this form"):
        RequestForm().make("image", b"\xff\x00", {}, "")
    for form in (Form.AUTO, Form.OPENAI, Form.OLLAMA):
        with pytest.raises(RequestError, match="nothing that JSON knows; --form npy sends it"):
            RequestForm(form).make("image", np.array([1j]), {}, "")
    with pytest.raises(RequestError, match="expected numbers"):
        RequestForm(Form.NPY).make("image", np.array([None]), {}, "")


def test_form_of_html_has_the_file_and_the_fields():
    import email

    form = RequestForm(Form.MULTIPART, model="m", field="picture")
    request = form.make("image", PICTURE, {}, "What?")

    head = f"Content-Type: {request.content_type}\r\n\r\n".encode()
    prompt, model, file = email.message_from_bytes(head + request.body).get_payload()
    assert prompt.get_payload() == "What?"
    assert model.get_payload() == "m"
    assert 'name="picture"' in file["Content-Disposition"]
    assert decoded(file.get_payload(decode=True)).shape == (30, 40, 3)


def test_template_is_filled_with_values_and_within_texts():
    template = (
        '{"inputs": [{"shape": "$SHAPE", "data": "$FLAT_VALUES"}], '
        '"q": "$MODEL says: $PROMPT", "n": 1, "price": "5 $"}'
    )

    found = made(RequestForm(model="m", template=template), np.ones((2, 2)), "yes")
    picture = made(RequestForm(template='{"p": "$PICTURE_BASE64"}'), PICTURE)

    assert found == {
        "inputs": [{"shape": [2, 2], "data": [1, 1, 1, 1]}],
        "q": "m says: yes",
        "n": 1,
        "price": "5 $",
    }
    assert decoded(base64.b64decode(picture["p"])).shape == (30, 40, 3)


def answer(body: bytes, content_type: str = "application/json", status: int = 200) -> Answer:
    return Answer(status, "reason", content_type, body, None)


def numpy_file(dtype: str, shape: str) -> Answer:
    """Return a file whose header says this of its four bytes."""
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"1234"
    return answer(body, "application/octet-stream")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("", b'{"a": 1}', b'{"a":1}'),
        ("", b'{"a": "\\ud800"}', b'{"a":"?"}'),
        ("", b'{"a": [NaN, {"b": -Infinity}]}', b'{"a":[null,{"b":null}]}'),
        ("a.0.b", b'{"a": [{"b": "text"}]}', b"text"),
        ("boxes", b'{"boxes": [[1, 2, 3, 4, 0.5, 0]]}', [[1, 2, 3, 4, 0.5, 0]]),
        ("boxes", b'{"boxes": []}', []),
        ("n", b'{"n": 7}', [7]),
    ],
)
def test_value_of_an_answer_in_json_is_taken(path: str, body: bytes, expected: Any):
    value = AnswerReader(path).read(answer(body))

    if isinstance(expected, list):
        assert isinstance(value, np.ndarray)
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected)
    else:
        assert value == expected


def test_other_answers_are_taken_as_they_are():
    file = io.BytesIO()
    np.save(file, np.arange(6).reshape(2, 3))

    array = AnswerReader().read(answer(file.getvalue(), "application/octet-stream"))
    text = AnswerReader().read(answer(b"a cat", "text/plain"))

    np.testing.assert_array_equal(array, [[0, 1, 2], [3, 4, 5]])
    assert text == b"a cat"


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("a", answer(b"<html>Sign in</html>", "text/html"), "no JSON but text/html of 20 bytes"),
        ("", answer(b"", "application/json"), "no JSON but application/json of 0 bytes"),
        ("a.b", answer(b'{"a": {"c": 1}}'), "nothing at 'a.b' .*where 'b' must be is the keys c"),
        ("3", answer(b"[1]"), "where '3' must be is a list"),
        ("a", answer(b'{"a": null}'), "has null at a"),
        ("", answer(b'{"error": "bad"}', status=422), "status 422 reason.*bad.*is --form what"),
        ("", answer(b"\x93NUMPY", "application/octet-stream"), "a broken file of numpy"),
        ("", numpy_file("'<f4'", "(10000000000000,)"), "a broken file of numpy"),
        ("", numpy_file("'<f4'", f"({10**30},)"), "a broken file of numpy"),
        ("", numpy_file("{{{{", ""), "a broken file of numpy"),
        ("", numpy_file("'<U1'", "(1,)"), "a file of numpy with <U1; expected numbers"),
        ("", numpy_file("[('a', '<f4')]", "(1,)"), "a file of numpy with .*; expected numbers"),
        ("a.²", answer(b'{"a": [1]}'), "where '²' must be is a list"),
    ],
)
def test_answer_of_no_use_is_told_with_its_beginning(path: str, given: Answer, expected: str):
    with pytest.raises(AnswerError, match=expected):
        AnswerReader(path).read(given)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker_module, "FIRST_PAUSE_S", 0.01)


class Replies:
    """An asker at a service, and what it has replied."""

    def __init__(self, url: str, *, path: str = "", retries: int = 3) -> None:
        self.values: list[tuple[int, Any]] = []
        self.asker = Asker(
            make_client(url),
            "POST",
            RequestForm(Form.JSON),
            AnswerReader(path),
            Patience(1000, retries),
            lambda question, value, _: self.values.append((question.origin_ns, value)),
        )

    def offer(self, number: int) -> None:
        self.asker.offer(Question("n", np.array([number]), {}, number, ""))


def test_newest_is_asked_about_and_what_came_meanwhile_is_passed_over(serve: Serve):
    may_answer = threading.Event()

    def behave(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        assert may_answer.wait(30)
        say(handler, asked.body)

    service = serve(behave)
    replies = Replies(service.url, path="n.0")

    replies.offer(0)
    eventually(lambda: len(service.asked) == 1)
    for number in range(1, 50):
        replies.offer(number)
    may_answer.set()
    replies.asker.finish(5)

    assert replies.values == [(0, [0]), (49, [49])]
    assert replies.asker.summary() == "2 answered, 48 passed over for a newer one"


def test_busy_service_is_asked_again_and_its_recovery_told(
    serve: Serve, caplog: pytest.LogCaptureFixture, short_pauses: None
):
    caplog.set_level(logging.INFO)

    def behave(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        if len(service.asked) < 4:
            say(handler, b"busy", "text/plain", 503)
        else:
            say(handler, b'"yes"')

    service = serve(behave)
    replies = Replies(service.url)

    replies.offer(1)
    eventually(lambda: replies.values != [])
    replies.asker.finish(5)

    assert replies.values == [(1, b"yes")]
    assert len(service.asked) == 4
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [
        "status 503 Service Unavailable: 'busy'; trying again with the newest",
        "answers again, after 3 failures",
    ]


def test_question_is_given_up_after_its_retries_and_a_refused_one_at_once(
    serve: Serve, short_pauses: None
):
    service = serve(saying(b"", "text/plain", 500))
    replies = Replies(service.url, retries=2)
    replies.offer(1)
    eventually(lambda: replies.asker.failed == 1)
    replies.asker.finish(5)
    assert len(service.asked) == 3

    service.behaviour = saying(b"", "text/plain", 400)
    replies = Replies(service.url, retries=2)
    replies.offer(1)
    replies.asker.finish(5)

    assert len(service.asked) == 4
    assert replies.values == []
    assert replies.asker.summary() == "0 answered, 1 failed"


def test_service_that_is_gone_when_the_flow_stops_is_not_asked_again(
    serve: Serve, caplog: pytest.LogCaptureFixture
):
    is_asked, may_answer = threading.Event(), threading.Event()

    def behave(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        is_asked.set()
        assert may_answer.wait(30)
        say(handler, b"", "text/plain", 503)

    service = serve(behave)
    replies = Replies(service.url)
    replies.offer(1)
    assert is_asked.wait(30)

    finishing = threading.Thread(target=replies.asker.finish, args=[20])
    finishing.start()
    eventually(lambda: replies.asker._is_finishing)
    may_answer.set()
    finishing.join(30)

    assert not finishing.is_alive()
    assert len(service.asked) == 1
    assert "it was the last one" in caplog.text


def test_service_that_asks_for_patience_gets_it(serve: Serve, short_pauses: None):
    service = serve(saying(b"", "text/plain", 429, Retry_After="3600"))
    replies = Replies(service.url)

    replies.offer(1)
    eventually(lambda: len(service.asked) == 1)
    replies.asker.finish(0.3)

    assert len(service.asked) == 1


def test_prompt_asks_about_the_newest_picture_and_the_answer_has_its_origin(serve: Serve):
    service = serve(saying(b'{"response": "open"}'))
    node = FakeNode(
        [
            make_event("prompt", b"too early"),
            make_event("image", PICTURE, origin_ns=5),
            make_event("image", PICTURE, origin_ns=7),
            make_event("prompt", "Is the door öpen?".encode()),
        ],
        output_ids=("answer",),
    )
    web = make_client(service.url)
    form = RequestForm(Form.OLLAMA, model="m")
    asker = Asker(web, "POST", form, AnswerReader("response"), Patience(1000, 0), answer_into(node))

    run(node, asker, Plan("", Occasion.PROMPT, 5))

    (sent,) = node.sent
    assert (sent.output_id, sent.value, sent.captured_ns) == ("answer", b"open", 7)
    assert sent.metadata["prompt"] == "Is the door öpen?"
    (asked,) = service.asked
    assert asked.json["prompt"] == "Is the door öpen?"


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "body.json").write_text("{")
    url = ["--url", "http://127.0.0.1:1/"]
    for words, expected in (
        ([], "--url is needed"),
        ([*url, "--form", "openai"], "--form openai needs --model NAME"),
        ([*url, "--header", "SECRET"], "--header is no header such as"),
        ([*url, "--header", "A: b\nc: d"], "--header is no header such as"),
        ([*url, "--body", str(tmp_path / "body.json")], "body.json' as JSON"),
        ([*url, "--method", "GET"], "'GET' is not one of post, put, patch"),
        ([*url, "--ca-file", "no.pem"], "there is no file 'no.pem'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parse_options(words, {})
        said = capsys.readouterr().err
        assert expected in said
        assert "SECRET" not in said


EXAMPLE = Path(__file__).parents[2] / "examples" / "http_service"


def test_flow_draws_the_boxes_that_a_service_finds_on_their_own_pictures(flow: Flow, serve: Serve):
    def behave(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        value = float(decoded(asked.body).mean())
        boxes = [[value, 1, 2, 3, 0.5, 0]]
        if len(service.asked) == 2:
            say(handler, b"busy", "text/plain", 503)
        else:
            say(handler, json.dumps({"found": {"boxes": boxes}}).encode())

    service = serve(behave)
    flow.write(
        "flow.yml",
        f"""
        nodes:
          - id: camera
            path: camera.py
            inputs: {{tick: dora/timer/hz/40}}
            outputs: [image]
          - id: remote
            module: dora_rt.nodes.http
            args: --url {service.url}/detect --answer found.boxes --quality 100
            inputs: {{image: {{source: camera/image, queue_policy: latest}}}}
            outputs: [answer]
          - id: check
            path: check.py
            inputs:
              image: {{source: camera/image, queue_size: 200}}
              bbox: remote/answer
        """,
    )
    flow.write(
        "camera.py",
        """
        import numpy as np
        from dora_rt import Node
        node = Node()
        for count, event in enumerate(node):
            if count == 80:
                break
            node.send_output("image", np.full((48, 64, 3), count, np.uint8))
        """,
    )
    flow.write(
        "check.py",
        """
        from dora_rt import Node
        shown, found = {}, {}
        for event in Node():
            if event.id == "image":
                shown[event.origin_ns] = int(event.value[0, 0, 0])
            else:
                assert event.value.shape == (1, 6), event
                found[event.origin_ns] = float(event.value[0, 0])
        # At the end: a quick answer may be here before the picture, of another queue.
        for origin_ns, value in found.items():
            assert abs(value - shown[origin_ns]) <= 1, (value, shown[origin_ns])
        print(f"checked {len(found) > 5}, the last picture too: {max(shown) in found}")
        """,
    )

    done = flow.run()

    assert done.exit_code == 0, done.out + done.err
    assert done.lines("check") == ["checked True, the last picture too: True"]
    remote = done.lines("remote")
    assert remote[0].startswith("status 503 Service Unavailable: 'busy'; trying again")
    assert remote[1] == "answers again, after 1 failures"
    assert re.fullmatch(r"\d+ answered, \d+ passed over for a newer one", remote[2])
