"""Writing container images as archives that Docker, containerd and kind load: no engine is needed to make them.

The format is `docker save`'s: layers as tar files, a configuration, a manifest. `repositories` comes first because kind reads
the names from the first index that it meets and takes only the first image's from a manifest.
"""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


@dataclass(frozen=True)
class Image:
    """An image: its names, its layers (tar files), and how it runs."""

    names: tuple[str, ...]
    layers: tuple[Path, ...]
    config: dict[str, Any] = field(default_factory=dict)


def file_sha256(path: Path) -> str:
    """Hash a file in pieces."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            total.update(piece)
    return total.hexdigest()


def entry(name: str, mode: int, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    """Describe a file owned by root at the beginning of time, so that equal contents make equal layers."""
    info = tarfile.TarInfo(name)
    info.mode, info.size, info.type = mode, size, kind
    return info


def write_layer(path: Path, programs: dict[str, Path], texts: dict[str, str] | None = None, links: dict[str, str] | None = None) -> None:
    """Write a layer of programs (path in the image -> file here), small texts, symbolic links, and a /tmp for everybody."""
    with tarfile.open(path, "w") as tar:
        folders = {str(parent) for name in (*programs, *(texts or {}), *(links or {})) for parent in Path(name).parents} - {"."}
        for name in sorted(folders - {"tmp"}):
            tar.addfile(entry(name, 0o755, kind=tarfile.DIRTYPE))
        tar.addfile(entry("tmp", 0o1777, kind=tarfile.DIRTYPE))
        for name, source in programs.items():
            with source.open("rb") as file:
                tar.addfile(entry(name, 0o755, source.stat().st_size), file)
        for name, text in (texts or {}).items():
            data = text.encode()
            tar.addfile(entry(name, 0o644, len(data)), io.BytesIO(data))
        for name, target in (links or {}).items():
            info = entry(name, 0o777, kind=tarfile.SYMTYPE)
            info.linkname = target
            tar.addfile(info)


def split_name(name: str) -> tuple[str, str]:
    """Split repo:tag."""
    repository, _, tag = name.rpartition(":")
    return repository, tag


def write_archive(path: Path, images: list[Image], architecture: str = "amd64") -> None:
    """Write an archive of several images; a layer that two of them share is stored once."""
    digests = {layer: file_sha256(layer) for image in images for layer in image.layers}
    repositories: dict[str, dict[str, str]] = {}
    manifest, configs = [], {}
    for image in images:
        text = config_text(image, [digests[layer] for layer in image.layers], architecture)
        identity = hashlib.sha256(text).hexdigest()
        configs[f"{identity}.json"] = text
        layers = [f"{digests[layer]}/layer.tar" for layer in image.layers]
        manifest.append({"Config": f"{identity}.json", "RepoTags": list(image.names), "Layers": layers})
        for name in image.names:
            repository, tag = split_name(name)
            repositories.setdefault(repository, {})[tag] = identity
    with tarfile.open(path, "w") as tar:
        for name, content in (("repositories", repositories), ("manifest.json", manifest)):
            data = json.dumps(content).encode()
            tar.addfile(entry(name, 0o644, len(data)), io.BytesIO(data))
        for name, data in configs.items():
            tar.addfile(entry(name, 0o644, len(data)), io.BytesIO(data))
        for digest, layer in {digest: layer for layer, digest in digests.items()}.items():
            with layer.open("rb") as file:
                tar.addfile(entry(f"{digest}/layer.tar", 0o644, layer.stat().st_size), file)


def config_text(image: Image, layers: list[str], architecture: str) -> bytes:
    """Write an image's configuration."""
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}" for layer in layers]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "holdfast e2e.cluster"} for _ in layers],
    }
    return json.dumps(config, sort_keys=True).encode()
