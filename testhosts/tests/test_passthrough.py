import tomllib

from testhosts import passthrough

DUMP = """\
APT "";
Acquire "";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example.test:3128";
Acquire::http::Proxy::archive.example.test "DIRECT";
Acquire::http::Proxy-Auto-Detect "/usr/local/bin/find-proxy";
Acquire::https::CAInfo "/etc/ssl/certs/ca-certificates.crt";
Acquire::https::archive.example.test::CAInfo "/root/ca.pem";
Acquire::Languages:: "en";
Dir::Cache "/somewhere";
"""


def test_apt_hands_on_network_settings_only():
    assert passthrough.apt_options(DUMP, {}) == [
        'Acquire::Check-Valid-Until "false"',
        'Acquire::Retries "3"',
        'Acquire::http::Proxy "http://proxy.example.test:3128"',
        'Acquire::http::Proxy::archive.example.test "DIRECT"',
        'Acquire::https::CAInfo "/etc/ssl/certs/ca-certificates.crt"',
    ]


def test_apt_gets_the_environments_proxy_unless_it_has_its_own():
    proxy = {"http_proxy": "http://env.example.test", "https_proxy": "http://env.example.test"}
    options = passthrough.apt_options(DUMP, proxy)
    assert 'Acquire::http::Proxy "http://proxy.example.test:3128"' in options
    assert 'Acquire::https::Proxy "http://env.example.test"' in options


def test_proxies_are_lower_case_and_not_empty():
    environment = {"HTTP_PROXY": "http://p.example.test", "https_proxy": "", "no_proxy": "a,b"}
    assert passthrough.proxies(environment) == {
        "http_proxy": "http://p.example.test",
        "no_proxy": "a,b",
    }


def test_authorities_in_folders_keep_distinct_names(tmp_path):
    (tmp_path / "company").mkdir()
    for name in ("ca.crt", "company/ca.crt", "ignored.pem"):
        (tmp_path / name).write_text(name)
    assert passthrough.authorities(tmp_path) == {
        "ca.crt": "ca.crt",
        "company-ca.crt": "company/ca.crt",
    }


def test_pip_takes_remote_indexes_only(tmp_path):
    early, late = tmp_path / "pip.conf", tmp_path / "user.conf"
    early.write_text("[global]\nindex-url = https://a.example.test/simple\ncert = /x\n")
    late.write_text("[global]\nextra-index-url = file:///opt/x https://b.example.test/simple\n")
    settings = passthrough.pip_settings({}, [early, late, tmp_path / "missing"])
    assert settings == {
        "index-url": "https://a.example.test/simple",
        "extra-index-url": "https://b.example.test/simple",
    }
    environment = {"PIP_INDEX_URL": "https://c.example.test/simple"}
    settings = passthrough.pip_settings(environment, [early])
    assert settings["index-url"] == "https://c.example.test/simple"


def test_pip_conf_is_written_only_if_needed():
    assert passthrough.render_pip({}, private_ca=False) == ""
    assert passthrough.render_pip({}, private_ca=True) == (
        "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n"
    )


def test_uv_reads_its_settings_and_writes_valid_toml(tmp_path):
    file = tmp_path / "uv.toml"
    file.write_text(
        '[[index]]\nname = "x"\nurl = "https://x.example.test/simple"\n'
        '[[index]]\nurl = "file:///opt/x"\n'
        '[[index]]\nurl = "https://d.example.test/simple"\ndefault = true\n'
    )
    default, further = passthrough.uv_indexes({}, [file, tmp_path / "missing"], {})
    assert default == "https://d.example.test/simple"
    assert further == ["https://x.example.test/simple"]
    text = passthrough.render_uv(default, further, private_ca=True)
    assert tomllib.loads(text) == {
        "system-certs": True,
        "index": [
            {"url": "https://x.example.test/simple"},
            {"url": "https://d.example.test/simple", "default": True},
        ],
    }


def test_uv_named_index_of_the_environment():
    environment = {"UV_INDEX": "mine=https://x.example.test/simple?a=b file:///opt/x"}
    default, further = passthrough.uv_indexes(environment, [], {})
    assert default is None
    assert tomllib.loads(passthrough.render_uv(default, further, private_ca=False)) == {
        "index": [{"name": "mine", "url": "https://x.example.test/simple?a=b"}]
    }


def test_uv_falls_back_to_pips_index():
    pip = {"index-url": "https://a.example.test/simple"}
    assert passthrough.uv_indexes({}, [], pip) == ("https://a.example.test/simple", [])
    assert passthrough.render_uv(None, [], private_ca=False) == ""
