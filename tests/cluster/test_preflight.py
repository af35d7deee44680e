from dataclasses import replace

from e2e.cluster import preflight

GOOD = preflight.Facts(
    system="Linux",
    kernel="6.18.44",
    root=True,
    docker=False,
    installable=True,
    missing_packages=("docker.io",),
    filesystems="nodev\tproc\nnodev\toverlay\n",
    free_disk=100 << 30,
    free_memory=16 << 30,
    cold=True,
    own_images=True,
    go=True,
    module_proxy="",
    mirror="",
    cgroups=True,
    capabilities=0x1FFFEFFFFFF,
)


def said(**changes):
    return [gap.what for gap in preflight.gaps(replace(GOOD, **changes))]


def test_a_good_machine_lacks_nothing():
    assert said() == []


def test_everything_that_is_missing_is_said_at_once():
    bad = said(kernel="3.10.0", root=False, installable=False, filesystems="", free_disk=1 << 30, free_memory=1 << 30, go=False)
    assert len(bad) == 7


def test_every_gap_has_a_fix():
    bad = replace(
        GOOD,
        system="Darwin",
        kernel="1.0",
        root=False,
        installable=False,
        free_disk=0,
        free_memory=0,
        go=False,
        module_proxy="proxy.example",
        mirror="mirror.example",
    )
    gaps = preflight.gaps(bad)
    assert len(gaps) >= 9
    assert all(gap.fix for gap in gaps)


def test_with_docker_and_a_registry_root_is_not_needed():
    assert said(root=False, docker=True, own_images=False, missing_packages=()) == []


def test_without_a_registry_root_is_needed_even_with_docker():
    assert said(root=False, docker=True, missing_packages=()) == ["no image registry answers, and making images here needs root"]


def test_a_warm_cache_needs_less_disk_and_no_go():
    assert said(cold=False, free_disk=10 << 30, go=False) == []
    assert len(said(cold=True, free_disk=10 << 30)) == 1


def test_packages_that_can_be_installed_are_no_gap():
    assert said(missing_packages=("docker.io", "debootstrap")) == []
    assert said(missing_packages=("docker.io",), installable=False) == ["missing: docker.io"]


def test_a_root_that_may_not_mount_is_told_so():
    assert said(capabilities=0x1FFFFFFFFFF & ~(1 << 21)) == ["this root lacks CAP_SYS_ADMIN"]
    assert said(capabilities=0, docker=True, missing_packages=()) == []


def test_silent_networks_are_named():
    assert said(module_proxy="proxy.example", mirror="mirror.example") == [
        "the Go module proxy does not answer: proxy.example",
        "the Debian mirror does not answer: mirror.example",
    ]


def test_memory_is_what_is_available():
    assert preflight.available_memory("MemTotal: 100 kB\nMemAvailable:     2048 kB\n") == 2048 * 1024
