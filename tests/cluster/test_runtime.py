import json

import pytest

from e2e.cluster import runtime

ALL = (1 << 41) - 1
NO_SYS_RESOURCE = ALL & ~(1 << 24)


def test_a_full_bounding_set_forbids_nothing():
    assert runtime.forbidden(ALL) == set()


def test_what_the_bounding_set_lacks_is_forbidden():
    assert runtime.forbidden(NO_SYS_RESOURCE) == {"CAP_SYS_RESOURCE"}


def test_the_capability_goes_out_of_every_set_and_the_rest_stays():
    process = {
        "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "effective": ["CAP_SYS_RESOURCE"], "ambient": None},
        "args": ["/sbin/init"],
        "oomScoreAdj": 0,
    }
    mended = runtime.mend(process, {"CAP_SYS_RESOURCE"}, 0)
    assert mended["capabilities"] == {"bounding": ["CAP_CHOWN"], "effective": [], "ambient": []}
    assert mended["args"] == ["/sbin/init"]


@pytest.mark.parametrize(("wanted", "lowest", "got"), [(-999, 0, 0), (500, 0, 500), (-10, -500, -10), (-999, -500, -500)])
def test_an_oom_score_never_goes_below_what_we_may_set(wanted, lowest, got):
    assert runtime.mend({"oomScoreAdj": wanted}, set(), lowest)["oomScoreAdj"] == got


def test_a_process_without_capabilities_is_left_alone():
    assert runtime.mend({"args": ["x"]}, {"CAP_SYS_RESOURCE"}, 0) == {"args": ["x"]}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--root", "/r", "create", "--bundle", "/b", "id"], ("/b/config.json", False)),
        (["create", "-b", "/b", "id"], ("/b/config.json", False)),
        (["--root", "/r", "exec", "--process", "/p.json", "--detach", "id"], ("/p.json", True)),
        (["state", "id"], ("", False)),
        (["delete", "--force", "id"], ("", False)),
    ],
)
def test_the_spec_of_each_call_of_runc(arguments, found):
    assert runtime.spec_file(arguments) == found


def test_it_mends_the_bundle_and_becomes_runc(tmp_path, monkeypatch):
    spec = {"process": {"capabilities": {"bounding": ["CAP_SYS_RESOURCE", "CAP_CHOWN"]}, "oomScoreAdj": 10}, "root": {"path": "r"}}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    called = []
    monkeypatch.setattr(runtime, "bounding_set", lambda _: NO_SYS_RESOURCE)
    monkeypatch.setattr(runtime.os, "execv", lambda path, argv: called.append((path, argv)))
    runtime.main(["create", "--bundle", str(tmp_path), "id"])
    mended = json.loads((tmp_path / "config.json").read_text())
    assert mended["process"]["capabilities"]["bounding"] == ["CAP_CHOWN"]
    assert mended["root"] == {"path": "r"}
    assert called == [(runtime.RUNC, ["runc", "create", "--bundle", str(tmp_path), "id"])]


def test_the_bounding_set_is_read_from_status():
    assert runtime.bounding_set("CapEff:\t0\nCapBnd:\t000001fffeffffff\n") == NO_SYS_RESOURCE
