"""Spans of OpenTelemetry, as a collector gets them by OTLP over HTTP."""

from __future__ import annotations

import gzip
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from dora_rt.errors import ExtraMissingError
from dora_rt.launcher.trace_options import decide_spans
from dora_rt.tracing.spans import format_context, parse_context, quieten
from tests.harness.finished import Finished
from tests.harness.flow import Flow

FRAMES = 4

FLOW = """
    nodes:
      - {id: camera, path: camera.py, outputs: [image]}
      - id: detector
        operators:
          - id: find
            python: find.py
            inputs: {image: {source: camera/image, queue_policy: block}}
            outputs: [boxes]
          - {id: choose, python: choose.py, inputs: {boxes: detector/find/boxes}, outputs: [best]}
      - id: plot
        path: plot.py
        inputs: {best: {source: detector/choose/best, queue_policy: block}}
"""

CAMERA = f"""
    import time
    from dora_rt import Node
    with Node() as node:
        for number in range({FRAMES}):
            captured_ns = time.monotonic_ns()
            time.sleep(0.002)
            node.send_output("image", bytes([number]), {{"number": number}},
                             captured_ns=captured_ns)
"""

# Hands the metadata on by hand, as many programs do.
FIND = """
    from dora_rt import DoraStatus
    class Operator:
        def on_input(self, dora_input, send_output):
            send_output("boxes", dora_input["data"], dora_input["metadata"])
            return DoraStatus.CONTINUE
"""

CHOOSE = """
    from dora_rt import DoraStatus
    class Operator:
        def on_input(self, dora_input, send_output):
            send_output("best", dora_input["data"])
            return DoraStatus.CONTINUE
"""

PLOT = """
    from dora_rt import Node
    with Node() as node:
        for event in node:
            print(event.value[0], event.metadata["open_telemetry_context"])
"""


@dataclass
class Collector:
    """A real collector: what it was sent, read as OTLP."""

    address: str
    spans: list[dict[str, Any]] = field(default_factory=list)

    def of(self, service: str) -> list[dict[str, Any]]:
        found = [span for span in self.spans if span["service.name"] == service]
        return sorted(found, key=lambda span: span["start"])


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            collector.spans += read_spans(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield collector
    server.shutdown()
    thread.join()
    server.server_close()


def read_spans(request: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    spans = []
    for group in request.resource_spans:
        resource = {one.key: one.value.string_value for one in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                attributes = {one.key: one.value for one in span.attributes}
                spans.append(
                    {
                        **resource,
                        "name": span.name,
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "links": [link.span_id.hex() for link in span.links],
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "attributes": attributes,
                    }
                )
    return spans


@pytest.fixture(scope="module")
def exported(
    starts_programs: None, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Finished, Collector]:
    flow = Flow(tmp_path_factory.mktemp("spans"))
    flow.write("flow.yml", FLOW)
    files = {"camera": CAMERA, "find": FIND, "choose": CHOOSE, "plot": PLOT}
    for name, text in files.items():
        flow.write(f"{name}.py", text)
    done = flow.run(env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address})
    assert done.exit_code == 0, done.out + done.err
    return done, collector


def test_each_frame_is_one_connected_trace_from_camera_to_plot(
    exported: tuple[Finished, Collector],
):
    _, collector = exported
    spans = {span["id"]: span for span in collector.spans}

    chains = []
    for last in collector.of("plot"):
        chain = [last]
        while chain[-1]["parent"]:
            chain.append(spans[chain[-1]["parent"]])
        chains.append([(span["service.name"], span["name"]) for span in reversed(chain)])
        assert len({span["trace"] for span in chain}) == 1

    assert chains == FRAMES * [
        [
            ("camera", "capture"),
            ("detector", "detector/find/image"),
            ("detector", "detector/choose/boxes"),
            ("plot", "best"),
        ]
    ]
    assert len({span["trace"] for span in collector.spans}) == FRAMES
    assert len(collector.spans) == 4 * FRAMES


def test_spans_say_when_what_and_in_which_run(exported: tuple[Finished, Collector]):
    _, collector = exported

    assert len({span["dora_rt.run"] for span in collector.spans}) == 1
    for span in collector.of("camera"):
        assert 2_000_000 <= span["end"] - span["start"] < 2_000_000_000
    for number, span in enumerate(collector.of("plot")):
        attributes = span["attributes"]
        assert attributes["dora_rt.seq"].int_value == number
        assert attributes["dora_rt.dropped"].int_value == 0
        assert attributes["dora_rt.latency_ms"].double_value > 0
        assert span["end"] >= span["start"]


def test_node_finds_the_context_of_its_own_span_in_the_metadata(
    exported: tuple[Finished, Collector],
):
    done, collector = exported

    contexts = [line.split(maxsplit=1)[1] for line in done.lines("plot")]
    assert [parse_context(context)["traceparent"].rpartition("-")[0] for context in contexts] == [
        f"00-{span['trace']}-{span['id']}" for span in collector.of("plot")
    ]


def test_matched_set_is_a_child_of_one_sample_and_linked_to_the_others(
    collector: Collector, flow: Flow
):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: left, path: eye.py, outputs: [seen]}
          - {id: right, path: eye.py, outputs: [seen]}
          - id: both
            path: both.py
            inputs: {left: left/seen, right: right/seen}
            sync: {inputs: [left, right], slop_ms: 5000}
            outputs: [depth]
          - {id: reader, path: reader.py, inputs: {depth: both/depth}}
        """,
    )
    flow.write("eye.py", 'from dora_rt import Node\nNode().send_output("seen", b"x")\n')
    flow.write(
        "both.py",
        """
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("depth", b"", metadata=event["right"].metadata)
        """,
    )
    flow.write("reader.py", "from dora_rt import Node\nfor _ in Node(): pass\n")

    address = f"{collector.address}/v1/traces"
    done = flow.run("--otel", env={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": address})

    assert done.exit_code == 0, done.out + done.err
    (both,), (reader,) = collector.of("both"), collector.of("reader")
    eyes = {collector.of("left")[0]["id"], collector.of("right")[0]["id"]}
    assert {both["parent"], *both["links"]} == eyes
    assert reader["parent"] == both["id"]


def test_collector_that_never_answers_holds_up_nobody(flow: Flow, silent_server: str):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, inputs: {tick: dora/timer/millis/1}}]")
    flow.write(
        "a.py",
        """
        import time
        from dora_rt import Node
        with Node() as node:
            begin_s = time.monotonic()
            for number, event in enumerate(node):
                if time.monotonic() > begin_s + 0.2 and number > 20:
                    break
        print("closed after", time.monotonic() - begin_s)
        """,
    )

    done = flow.run("--otel", env={"OTEL_EXPORTER_OTLP_ENDPOINT": silent_server})

    assert done.exit_code == 0, done.out
    (closed,) = (line for line in done.lines("a") if "closed" in line)
    assert float(closed.split()[-1]) < 9
    assert "does not answer" in done.out


@pytest.fixture
def silent_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_run_without_a_switch_makes_no_spans_and_imports_nothing_for_it(flow: Flow):
    flow.write("flow.yml", "nodes: [{id: a, path: a.py, inputs: {tick: dora/timer/millis/1}}]")
    flow.write(
        "a.py",
        """
        import sys
        from dora_rt import Node
        node = Node()
        print(repr(node.next().metadata["open_telemetry_context"]))
        names = [name for name in sys.modules if "opentelemetry" in name or ".tracing" in name]
        print(names, type(node._inbox).__name__)
        """,
    )

    done = flow.run()

    assert done.lines("a") == ["''", "[] Inbox"]


def test_exporter_that_complains_at_every_try_is_heard_once(capfd: pytest.CaptureFixture[str]):
    logger = logging.getLogger("opentelemetry")
    quieten()
    try:
        for seconds in range(3):
            logging.getLogger("opentelemetry.exporter").warning("retrying in %d s", seconds)
    finally:
        logger.handlers.clear()

    assert capfd.readouterr().err == "OpenTelemetry: retrying in 0 s (told once)\n"


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


@pytest.mark.parametrize(
    ("environ", "are_wanted", "expected", "note"),
    [
        ({}, False, False, None),
        ({}, True, True, None),
        (ENDPOINT, False, True, None),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False, False, None),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, True, False, "forbids"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False, True, "and not by grpc"),
    ],
)
def test_variables_of_opentelemetry_decide(
    environ: dict[str, str], are_wanted: bool, expected: bool, note: str | None
):
    has_spans, told = decide_spans(environ, are_wanted=are_wanted)

    assert has_spans is expected
    assert (told is None) if note is None else (told is not None and note in told)


def test_missing_extra_is_an_error_only_for_who_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    has_spans, note = decide_spans(ENDPOINT, are_wanted=False)

    assert not has_spans
    assert note is not None
    assert "pip install 'dora_rt[tracing]'" in note
    with pytest.raises(ExtraMissingError, match="tracing"):
        decide_spans(ENDPOINT, are_wanted=True)


def test_context_is_written_as_dora_writes_it():
    fields = {"traceparent": "00-" + 32 * "1" + "-" + 16 * "2" + "-01", "tracestate": "a=b:c"}

    text = format_context(fields)

    assert text == f"traceparent:{fields['traceparent']};tracestate:a=b:c;"
    assert parse_context(text) == fields


@pytest.mark.parametrize("text", ["", "7632e76", ";;:", "tracestate:a=b;", "traceparent"])
def test_what_is_no_context_is_none(text: str):
    assert parse_context(text) == {}
