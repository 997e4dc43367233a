"""How old a sample is when it arrives: since the capture of the picture that led to it."""

from __future__ import annotations

from dora_rt.latency import percentile_ns
from dora_rt.live.run import run
from tests.harness.flow import Flow


def test_age_at_each_hop_counts_from_the_capture_and_latency_from_the_send(flow: Flow):
    flow.write(
        "flow.yml",
        """
        nodes:
          - {id: camera, path: camera.py, inputs: {tick: dora/timer/hz/20}, outputs: [image]}
          - {id: detector, path: detector.py, inputs: {image: camera/image}, outputs: [bbox]}
          - {id: sink, path: sink.py, inputs: {bbox: detector/bbox}}
        """,
    )
    flow.write(
        "camera.py",
        """
        import time
        from dora_rt import Node
        node = Node()
        for event in node:
            node.send_output("image", b"", captured_ns=time.monotonic_ns() - 100_000_000)
            if event.seq >= 12:
                break
        """,
    )
    flow.write(
        "detector.py",
        """
        import time
        from dora_rt import Node
        node = Node()
        for event in node:
            time.sleep(0.02)  # it works
            node.send_output("bbox", b"")
        """,
    )
    flow.write("sink.py", "from dora_rt import Node\nfor event in Node(): pass")

    report = run(flow.folder / "flow.yml", quiet=True)

    ages = {}
    for edge in report.edges:
        assert sum(edge.ages) == sum(edge.latencies) == edge.delivered
        latency_ns, age_ns = percentile_ns(edge.latencies, 0.5), percentile_ns(edge.ages, 0.5)
        assert latency_ns is not None
        assert age_ns is not None
        assert age_ns > latency_ns + 0.05e9
        ages[edge.target] = age_ns
    # Within the 7 % of a bucket.
    assert ages["detector/image"] > 0.093e9
    assert ages["sink/bbox"] > 0.111e9
