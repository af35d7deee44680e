import tomllib

import pytest

from e2e.cluster import pins


def test_every_project_has_a_version_that_its_go_mod_requires():
    projects = pins.read_projects()
    assert projects["dapr"].version == "1.18.2"
    assert projects["kubernetes"].version.startswith("1.36.")
    assert all(project.version and len(project.key) == 16 for project in projects.values())


def test_versions_reach_the_programs_through_ldflags():
    kubernetes = pins.read_projects()["kubernetes"]
    assert f"gitVersion=v{kubernetes.version}" in kubernetes.ldflags
    assert "gitMinor=36" in kubernetes.ldflags


def test_the_key_changes_with_each_pin(tmp_path):
    def key(go_mod="module x\n\nrequire k8s.io/a v1.2.3\n", go_sum="", tags=""):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / "go.mod").write_text(go_mod)
        (tmp_path / "a" / "go.sum").write_text(go_sum)
        (tmp_path / "projects.toml").write_text(f'[a]\nmodule = "k8s.io/a"\ntags = "{tags}"\nbinaries = {{}}\n[sets]\n')
        return pins.read_projects(tmp_path)["a"].key

    assert key() == key()
    others = [key(go_mod="module x\n\nrequire k8s.io/a v1.2.4\n"), key(go_sum="h1:x"), key(tags="t")]
    assert len({key(), *others}) == 4


@pytest.mark.parametrize("go_mod", ["require k8s.io/a v1.2.3\n", "require (\n\tk8s.io/ab v9.0.0\n\tk8s.io/a v1.2.3 // indirect\n)\n"])
def test_required_version_in_both_forms(go_mod):
    assert pins.required_version(go_mod, "k8s.io/a") == "1.2.3"


def test_a_module_that_is_not_required_is_an_error():
    with pytest.raises(ValueError, match="requires no"):
        pins.required_version("require k8s.io/ab v1.0.0\n", "k8s.io/a")


def test_sets_name_single_programs_or_whole_projects():
    projects, sets = pins.read_projects(), pins.read_sets()
    alone = pins.wanted(sets, projects, ["kubernetes"])
    assert alone["etcd"] == ["etcd"]
    assert "kubelet" not in alone["kubernetes"]
    assert pins.wanted(sets, projects, ["dapr"])["dapr"] == [*projects["dapr"].binaries, "chart"]
    assert set(pins.wanted(sets, projects, ["cluster"])) == set(projects) - {"otel-collector"}
    assert list(pins.wanted(sets, projects, ["collector"])) == ["otel-collector"]


def test_sets_do_not_ask_twice():
    projects, sets = pins.read_projects(), pins.read_sets()
    both = pins.wanted(sets, projects, ["kubernetes", "cluster", "client"])
    assert all(len(names) == len(set(names)) for names in both.values())


def test_an_unknown_set_names_the_known_ones():
    with pytest.raises(ValueError, match="there are: kubernetes"):
        pins.wanted(pins.read_sets(), pins.read_projects(), ["kubernetis"])


def test_parts_cannot_be_confused_with_each_other():
    assert pins.digest("ab", "c") != pins.digest("a", "bc")


def test_each_set_names_what_exists():
    table = tomllib.loads((pins.TOOLS / "projects.toml").read_text())
    for items in table.pop("sets").values():
        for item in items:
            project, _, artefact = item.partition("/")
            assert not artefact or artefact in {**table[project]["binaries"], **table[project].get("folders", {})}
