from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dora_rt.redaction import (
    message_without_secrets,
    needs_encoding,
    without_secrets,
    words_without_secrets,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:SECRET@192.168.1.5:554/stream", "rtsp://192.168.1.5:554/stream"),
        ("rtsp://admin:SECR#ET2@127.0.0.1:9/stream", "rtsp://127.0.0.1:9/stream"),
        ("rtsp://admin:SEC/RET3@127.0.0.1:9/stream", "rtsp://127.0.0.1:9/stream"),
        ("rtsp://admin:SEC[RET4@127.0.0.1:9/stream", "rtsp://127.0.0.1:9/stream"),
        ("rtsp://admin:SEC@RET5@127.0.0.1:9/stream", "rtsp://127.0.0.1:9/stream"),
        ("rtsp://admin:SEC RET@cam/stream", "rtsp://cam/stream"),
        ("rtsp://SECRET@cam", "rtsp://cam"),
        (
            "http://127.0.0.1:9/videostream.cgi?user=admin&pwd=SECRET1",
            "http://127.0.0.1:9/videostream.cgi?user=admin&pwd=***",
        ),
        ("http://cam/v?PASSWORD=SEC@RET&size=2", "http://cam/v?PASSWORD=***&size=2"),
        ("http://cam/v?loginuse=a&loginpas=SECRET", "http://cam/v?loginuse=a&loginpas=***"),
        ("http://cam/v?p%77d=SECRET#x", "http://cam/v?p%77d=***"),
        (
            "https://cam/v.m3u8?token=SECRET;api_key=SECRET",
            "https://cam/v.m3u8?token=***;api_key=***",
        ),
        (
            "srt://cam:9000?passphrase=SECRET&mode=caller",
            "srt://cam:9000?passphrase=***&mode=caller",
        ),
        ("rtsp:/admin:SECRET@cam/stream", "rtsp:/cam/stream"),
        ("rtsp//admin:SECRET@cam/stream", "rtsp//cam/stream"),
        ("admin:SECRET@cam/stream", "cam/stream"),
        (
            "rtspsrc location=rtsp://admin:SECRET@cam ! appsink",
            "rtspsrc location=rtsp://cam ! appsink",
        ),
        (
            'rtspsrc location=rtsp://cam user-id=admin user-pw="SEC RET" ! appsink',
            "rtspsrc location=rtsp://cam user-id=admin user-pw=*** ! appsink",
        ),
        ("--source=rtsp://admin:SECRET@cam", "--source=rtsp://cam"),
        (
            "rtsp://cam:554/user=admin_password=SECRET_channel=1_stream=0.sdp?real_stream",
            "rtsp://cam:554/user=admin_password=***?real_stream",
        ),
        ("rtsp://cam/user=admin&password=SECRET&channel=1", "rtsp://cam/user=admin&password=***"),
        ("--source=http://cam/v;pwd=SECRET", "--source=http://cam/v;pwd=***"),
        ("http://cam/v?u=admin&p=SECRET&size=2", "http://cam/v?u=admin&p=***&size=2"),
        ("http://cam/v?_sid=SECRET", "http://cam/v?_sid=***"),
        ("http://cam/v?pwd=SEC&RET;x&size=2", "http://cam/v?pwd=***&;&size=2"),
    ],
)
def test_secret_is_cut_out_of_every_form(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "auto",
        "0",
        "/dev/v4l/by-id/usb-046d_HD-video-index0",
        "drive.mp4",
        "pictures/me@work.png",
        "/data/12:30:05@door.mp4",
        "test://scene?seed=3&frames=300",
        "http://cam:8080/video.mjpg?size=640x480",
        "v4l2src device=/dev/video0 ! videoconvert ! appsink",
    ],
)
def test_text_without_a_secret_stays_as_it_is(text):
    assert without_secrets(text) == text


@given(st.text(alphabet=string.printable, min_size=1))
def test_no_password_whatever_its_characters_is_shown_or_raises(password):
    marked = f"QZ{password}ZQ"

    shown = without_secrets(f"rtsp://admin:{marked}@cam:554/stream")

    assert "QZ" not in shown and "ZQ" not in shown


def test_words_of_a_command_line_are_cut_one_by_one():
    words = ["python", "--source", "rtsp://a:SECRET@cam/1", "--mail", "me@home"]

    assert words_without_secrets(words) == "python --source rtsp://cam/1 --mail me@home"


def test_password_with_a_space_and_no_quotes_is_cut_out_of_both_words():
    words = ["webcam", "--source", "rtsp://admin:MY", "SECRET@cam/1", "--loop"]

    assert words_without_secrets(words) == "webcam --source rtsp://cam/1 --loop"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "'path' of 'a': 'rtsp://u:SECRET@cam/1' is no file",
            "'path' of 'a': 'rtsp://cam/1' is no file",
        ),
        ("error: unrecognized arguments: SECRET@cam/1", "error: unrecognized arguments: cam/1"),
        ("WIDTH=rtsp://u:SE@CRET@cam: 'x' is no number", "WIDTH=rtsp://cam: 'x' is no number"),
        ("there is no node 'webcan'", "there is no node 'webcan'"),
    ],
)
def test_message_that_quotes_a_source_does_not_show_its_secret(message, shown):
    assert message_without_secrets(message) == shown


@pytest.mark.parametrize("password", ["a#b", "a/b", "a?b", "a[b", "a@b", "a b"])
def test_password_that_a_url_cannot_carry_is_noticed(password):
    assert needs_encoding(f"rtsp://admin:{password}@cam/stream")


@pytest.mark.parametrize("url", ["rtsp://admin:a%23b@cam/stream", "rtsp://cam/a?b#c", "drive.mp4"])
def test_well_formed_url_needs_no_encoding(url):
    assert not needs_encoding(url)


def test_message_hides_a_part_of_a_pipeline():
    message = message_without_secrets("unrecognized arguments: rtspsrc user-pw='SEC RET' ! appsink")

    assert message == "unrecognized arguments: rtspsrc user-pw=*** ! appsink"
