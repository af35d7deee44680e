from pathlib import Path

from e2e.cluster import places


def test_two_checkouts_have_two_clusters():
    one, two = places.cluster_name(Path("/a/holdfast")), places.cluster_name(Path("/b/holdfast"))
    assert one != two
    assert one == places.cluster_name(Path("/a/holdfast"))
    assert one.startswith("holdfast-")
    assert len(one) == len("holdfast-") + 6


def test_the_cache_is_where_the_user_says_else_where_xdg_says_else_in_home():
    home = Path("/home/x")
    assert places.cache_root({"HOLDFAST_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, home) == Path("/c")
    assert places.cache_root({"XDG_CACHE_HOME": "/x"}, home) == Path("/x/holdfast")
    assert places.cache_root({}, home) == Path("/home/x/.cache/holdfast")


def test_programs_lie_by_project_and_version():
    here = places.Places(Path("/checkout"), Path("/cache"))
    assert here.bin("dapr", "1.18.2") == Path("/cache/bin/dapr-1.18.2")
    assert here.kubeconfig == Path("/checkout/.holdfast/kubeconfig")
