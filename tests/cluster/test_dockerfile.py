from e2e.cluster import dockerfile


def test_what_names_an_outside_server_is_taken_and_local_folders_are_not():
    config = "global.cert='/etc/ssl/x'\nglobal.index-url='https://index.example/simple'\nglobal.find-links='/opt/wheels'\n"
    environment = {
        "PIP_EXTRA_INDEX_URL": "https://more.example",
        "PIP_FIND_LINKS": "/opt/wheels",
        "https_proxy": "http://p:1",
        "HOME": "/h",
    }
    assert dockerfile.host_settings(environment, config) == {
        "PIP_INDEX_URL": "https://index.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://more.example",
        "https_proxy": "http://p:1",
        "HTTPS_PROXY": "http://p:1",
    }


def test_the_environment_wins_over_pips_files():
    assert dockerfile.host_settings({"PIP_TIMEOUT": "9"}, "global.timeout='1'\n") == {"PIP_TIMEOUT": "9"}


def test_the_throw_away_image_carries_certificates_and_settings():
    text = dockerfile.host_dockerfile("base:1", {"PIP_INDEX_URL": 'https://"x"'}, bundle=True)
    assert text.startswith("FROM base:1\nCOPY ca.crt ")
    assert 'ENV PIP_INDEX_URL="https://\\"x\\""' in text
    assert "PIP_CERT" in text


def test_without_certificates_nothing_is_copied():
    assert dockerfile.host_dockerfile("base:1", {}, bundle=False) == "FROM base:1\n"


def test_the_certificates_that_pip_uses_come_first(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).touch()
    assert dockerfile.certificates({"PIP_CERT": str(tmp_path / "a"), "SSL_CERT_FILE": str(tmp_path / "b")}) == tmp_path / "a"
    assert dockerfile.certificates({"PIP_CERT": str(tmp_path / "gone"), "SSL_CERT_FILE": str(tmp_path / "b")}) == tmp_path / "b"
