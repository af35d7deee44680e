from e2e.cluster import debian

STATUS = """Package: python3
Depends: python3.11 (>= 3.11.2), libc6 (>= 2.36) | musl
Pre-Depends: python3-minimal

Package: python3.11
Depends: libssl3, media-types | mime-support, dpkg (>= 1)

Package: python3-minimal
Depends: python3.11

Package: libssl3
Depends: libc6, default-mta | mail-transport-agent

Package: libc6
Essential: yes
Depends: libgcc-s1:amd64

Package: libgcc-s1
Provides: libgcc1 (= 1:12)

Package: exim4
Provides: mail-transport-agent

Package: dpkg
Essential: yes
Depends: tar

Package: tar

Package: media-types
"""


def test_a_slice_is_what_it_names_and_all_that_needs():
    packages = debian.parse_status(STATUS)
    found = debian.closure(packages, ["python3"])
    assert found == {"python3", "python3.11", "python3-minimal", "libssl3", "libc6", "libgcc-s1", "media-types", "dpkg", "tar", "exim4"}


def test_left_out_packages_take_along_what_only_they_need():
    packages = debian.parse_status(STATUS)
    assert not {"dpkg", "tar"} & debian.closure(packages, ["python3"], frozenset({"dpkg"}))


def test_essential_packages_are_known():
    packages = debian.parse_status(STATUS)
    assert [name for name, package in packages.items() if package.essential] == ["libc6", "dpkg"]


def test_the_mirror_is_read_from_both_formats_of_apt():
    assert debian.mirror_in("# c\ndeb [signed-by=/k] http://a.example/debian bookworm main\n") == "http://a.example/debian"
    assert debian.mirror_in("Types: deb\nURIs: http://b.example/debian\nSuites: bookworm\n") == "http://b.example/debian"


def test_security_and_foreign_sources_are_no_mirror():
    assert debian.mirror_in("deb http://a.example/ubuntu jammy main\n") == ""
    both = "deb http://s.example/debian-security bookworm-security main\ndeb http://a.example/debian bookworm main\n"
    assert debian.mirror_in(both) == "http://a.example/debian"


def make_root(base):
    info = base / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (base / "usr/lib").mkdir(parents=True)
    (base / "usr/sbin").mkdir()
    (base / "etc/alternatives").mkdir(parents=True)
    (base / "lib").symlink_to("usr/lib")
    (base / "usr/lib/x.so").touch()
    (base / "usr/share/doc/x").mkdir(parents=True)
    (base / "usr/share/doc/x/copyright").touch()
    (info / "x:amd64.list").write_text("/.\n/lib\n/lib/x.so\n/usr/share/doc/x/copyright\n/gone\n")


def test_files_are_named_where_they_really_are_and_documentation_stays_out(tmp_path):
    make_root(tmp_path)
    assert debian.package_files(tmp_path, {"x"}) == {"lib", "usr/lib/x.so"}


def test_links_made_by_alternatives_lead_to_files(tmp_path):
    make_root(tmp_path)
    records = tmp_path / "var/lib/dpkg/alternatives"
    records.mkdir()
    (records / "iptables").write_text("auto\n/usr/sbin/iptables\n\n/usr/sbin/iptables-nft\n20\n")
    (tmp_path / "usr/sbin/iptables-nft").touch()
    (tmp_path / "etc/alternatives/iptables").symlink_to("/usr/sbin/iptables-nft")
    (tmp_path / "usr/sbin/iptables").symlink_to("/etc/alternatives/iptables")
    assert debian.alternatives(tmp_path) == {"usr/sbin/iptables": "usr/sbin/iptables-nft"}


def test_how_slices_are_cut_does_not_change_what_debootstrap_makes():
    recipe = debian.Recipe("bookworm", {"a": ["x", "y"]}, frozenset())
    assert recipe.key == debian.Recipe("bookworm", {"a": ["x"], "b": ["y", "x"]}, frozenset({"z"})).key
    assert recipe.key != debian.Recipe("trixie", {"a": ["x", "y"]}, frozenset()).key
    assert recipe.key != debian.Recipe("bookworm", {"a": ["x"]}, frozenset()).key
