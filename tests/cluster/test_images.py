import io
import json
import tarfile

from e2e.cluster import images, nodeimage
from e2e.cluster.imagetar import Image, file_sha256, split_name, write_archive, write_layer


def members(path):
    with tarfile.open(path) as tar:
        return {info.name: (info, tar.extractfile(info).read() if info.isreg() else b"") for info in tar}


def make(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"x" * 3000)
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    write_layer(one, {"usr/local/bin/program": program}, {"etc/passwd": "root\n"}, {"bin/sh": "/bin/busybox"})
    write_layer(two, {"other": program})
    return one, two


def test_a_layer_holds_programs_texts_links_and_a_tmp_owned_by_root(tmp_path):
    found = members(make(tmp_path)[0])
    assert found["usr/local/bin/program"][0].mode == 0o755
    assert found["etc/passwd"][1] == b"root\n"
    assert found["bin/sh"][0].linkname == "/bin/busybox"
    assert found["tmp"][0].mode == 0o1777
    assert all((info.uid, info.mtime) == (0, 0) for info, _ in found.values())
    assert list(found).index("usr") < list(found).index("usr/local") < list(found).index("usr/local/bin/program")


def test_the_same_contents_make_the_same_layer(tmp_path):
    first = file_sha256(make(tmp_path)[0])
    assert file_sha256(make(tmp_path)[0]) == first


def test_kind_reads_all_names_because_repositories_comes_first(tmp_path):
    one, two = make(tmp_path)
    archive = tmp_path / "a.tar"
    write_archive(archive, [Image(("r.example/a:1", "b:2"), (one, two)), Image(("r.example/a:2",), (one,))])
    found = members(archive)
    assert next(iter(found)) == "repositories"
    repositories = json.loads(found["repositories"][1])
    assert {name: set(tags) for name, tags in repositories.items()} == {"r.example/a": {"1", "2"}, "b": {"2"}}


def test_a_shared_layer_is_stored_once_and_every_reference_resolves(tmp_path):
    one, two = make(tmp_path)
    archive = tmp_path / "a.tar"
    write_archive(archive, [Image(("a:1",), (one, two), {"User": "65532"}), Image(("b:1",), (one,))])
    found = members(archive)
    manifest = json.loads(found["manifest.json"][1])
    assert len([name for name in found if name.endswith("/layer.tar")]) == 2
    for item in manifest:
        config = json.loads(found[item["Config"]][1])
        assert [f"sha256:{layer.removesuffix('/layer.tar')}" for layer in item["Layers"]] == config["rootfs"]["diff_ids"]
        assert all(layer in found for layer in item["Layers"])
    assert json.loads(found[manifest[0]["Config"]][1])["config"] == {"User": "65532"}
    with tarfile.open(fileobj=io.BytesIO(found[manifest[0]["Layers"][1]][1])) as layer:
        assert "other" in layer.getnames()


def test_a_registry_port_is_no_tag():
    assert split_name("localhost:5000/a/b:1.2") == ("localhost:5000/a/b", "1.2")


def test_names_are_read_from_kinds_sources_and_containerds_configuration():
    go = 'const storageHelperImage = "docker.io/kindest/helper:v1"\nvar x = []string{storageHelperImage}\nconst kindnetdImage = "d/k:v2"\n'
    assert images.named(go) == {"storageHelperImage": "docker.io/kindest/helper:v1", "kindnetdImage": "d/k:v2"}
    assert images.sandbox_image('  sandbox_image = "registry.k8s.io/pause:3.10"\n') == "registry.k8s.io/pause:3.10"


def test_the_base_images_in_force():
    assert images.in_force(made_here=False).python == "python:3.11-slim"
    assert images.in_force(made_here=True).redis == "holdfast.local/redis:7"


def test_the_spec_for_containers_gets_kinds_hook_and_loses_its_limits():
    mended = json.loads(nodeimage.mend_spec('{"process": {"rlimits": [1], "args": ["sh"]}}'))
    assert "rlimits" not in mended["process"]
    assert mended["hooks"]["createContainer"] == [{"path": "/kind/bin/mount-product-files.sh"}]


def test_the_node_image_is_named_after_its_contents():
    assert nodeimage.image_name() == nodeimage.image_name()
    assert nodeimage.image_name().startswith("holdfast.local/kind-node:v1.36.")
