"""Certificates: what is made, who may read it, and what a launcher says of bad ones."""

from __future__ import annotations

import shutil
import ssl
import stat

import pytest

from dora_rt.errors import LaunchError
from dora_rt.network.certificates import (
    certificate_folder,
    find_security,
    make_authority,
    make_pair,
)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pki"
    make_authority(folder)
    make_pair(folder, "robot")
    return folder


def found(folder, machine="robot", **options):
    return find_security(folder, machine, is_insecure=False, environ={}, **options)


def test_keys_are_for_their_owner_only(folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_openssl_takes_what_was_made(folder):
    context = ssl.create_default_context(cafile=str(folder / "authority.pem"))

    context.load_cert_chain(folder / "robot.pem", folder / "robot.key")

    assert context.cert_store_stats()["x509_ca"] == 1


def test_what_is_there_stays(folder):
    before = (folder / "robot.pem").read_bytes()

    assert not make_authority(folder)
    assert not make_pair(folder, "robot")
    assert (folder / "robot.pem").read_bytes() == before


def test_certificates_are_found_in_the_folder_of_the_user(tmp_path):
    environ = {"HOME": str(tmp_path)}
    folder = certificate_folder(environ)
    make_authority(folder)
    make_pair(folder, "robot")

    security = find_security(None, "robot", is_insecure=False, environ=environ)

    assert folder == tmp_path / ".config/dora_rt/pki"
    assert security.certificate == str(folder / "robot.pem")


def test_certificate_of_the_robot_comes_before_that_of_the_machine(folder):
    make_pair(folder, "robot.r7")

    assert found(folder, robot="r7").certificate == str(folder / "robot.r7.pem")
    assert found(folder, robot="r8").certificate == str(folder / "robot.pem")


def test_missing_certificate_names_the_way_out(folder):
    with pytest.raises(LaunchError, match=r"'laptop' has no certificate in .*dora-rt pair"):
        found(folder, "laptop")


def test_folder_that_cannot_be_read_is_named(folder):
    with pytest.raises(LaunchError, match=r"cannot be read: .*name too long"):
        found(folder / ("x" * 300))


def test_key_that_others_may_read_is_refused(folder):
    (folder / "robot.key").chmod(0o640)

    with pytest.raises(LaunchError, match=r"others may read this private key .*chmod 600"):
        found(folder)


def test_certificate_of_another_machine_is_refused(folder):
    make_pair(folder, "laptop")
    shutil.copy(folder / "robot.pem", folder / "laptop.pem")

    with pytest.raises(LaunchError, match="is the certificate of 'robot', not of 'laptop'"):
        found(folder, "laptop")


def test_certificate_of_another_authority_is_refused(folder, tmp_path):
    other = tmp_path / "other"
    make_authority(other)
    shutil.copy(other / "authority.pem", folder / "authority.pem")

    with pytest.raises(LaunchError, match="was not signed by"):
        found(folder)


def test_key_of_another_certificate_is_refused(folder):
    make_pair(folder, "laptop")
    shutil.copy(folder / "laptop.key", folder / "robot.key")

    with pytest.raises(LaunchError, match=r"robot\.key is not the key of"):
        found(folder)


@pytest.mark.parametrize("file", ["robot.pem", "robot.key", "authority.pem"])
def test_broken_file_is_named(folder, file):
    (folder / file).write_bytes(b"-----BEGIN nonsense")
    (folder / file).chmod(0o600)

    with pytest.raises(LaunchError, match=file):
        found(folder)


def test_authority_of_another_machine_signs_nothing_here(folder):
    (folder / "authority.key").unlink()

    with pytest.raises(LaunchError, match="the authority is on another machine"):
        make_authority(folder)


@pytest.mark.parametrize("name", ["", "../robot", "a b", "x" * 64, "r\n"])
def test_name_that_is_no_file_is_refused(folder, name):
    with pytest.raises(LaunchError, match="cannot be the name in a certificate"):
        make_pair(folder, name)


def test_insecure_links_need_no_certificate(tmp_path):
    assert find_security(tmp_path, "robot", is_insecure=True, environ={}).is_insecure
