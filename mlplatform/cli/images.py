"""``mlplatform image``: an environment as a container image, the platform's own images, to and from registries."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlplatform.cli.options import common, give, write
from mlplatform.cli.style import clean
from mlplatform.core.errors import InvalidInput

if TYPE_CHECKING:
    from mlplatform.images.layout import Layout
    from mlplatform.images.model import Descriptor
    from mlplatform.images.registry import Registry, Told

_insecure = click.option(
    "--insecure",
    is_flag=True,
    help="Plain HTTP and any certificate are fine (this machine's own registry needs no flag).",
)
_into = click.option(
    "--to",
    "into",
    metavar="PATH",
    help="Write the image here: an OCI layout, or an archive of one if PATH ends with .tar.",
)


@click.group()
def image() -> None:
    """Container images without a container engine: built, pushed, pulled."""


@image.command()
@click.argument("file", metavar="[FILE|NOTEBOOK]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--base",
    metavar="IMAGE",
    help="What to build on: NAME, oci:FOLDER or oci-archive:FILE.  [default: python:X.Y-slim]",
)
@click.option("--tag", metavar="NAME", help="What to call it: registry.example.com/team/image:tag.")
@click.option("--push", "pushed", is_flag=True, help="Push it to the registry of --tag.")
@_into
@click.option("--platform", default="linux/amd64", show_default=True, help="linux/amd64 or linux/arm64.")
@click.option("--exclude", multiple=True, metavar="PACKAGE", help="A package to leave out. May be given several times.")
@_insecure
@common
def build(
    file: Path | None, base: str | None, tag: str | None, pushed: bool, into: str | None, platform: str,
    exclude: Sequence[str], insecure: bool, home: str | None, output: str,
) -> None:  # fmt: skip
    """Put the current environment into an image: the base, its packages in exactly their versions, and the code that
    FILE or NOTEBOOK reaches. Built twice, it has the same digest.
    """
    from mlplatform.images.base import default_base
    from mlplatform.images.build import Request, build_image, push_built
    from mlplatform.images.model import Platform
    from mlplatform.images.references import Reference

    if pushed and not tag:
        raise InvalidInput("Say where to push it.", hint="--tag registry.example.com/team/image:tag --push")
    name = Reference.parse(tag) if tag else None
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    request = Request(base or default_base(python), file, Platform.parse(platform), tuple(exclude), insecure)
    built = build_image(request, report=_telling(output))
    for finding in built.warnings:
        write(f"warning: {clean(str(finding))}", error=True)
    data: dict[str, Any] = {**built.to_json(), "name": str(name) if name else None, "pushed": None}
    if into:
        data["written"] = _write(built.layout, built.image, into, str(name or ""))
    if name and pushed:
        data["pushed"] = str(push_built(built, name, _registry(name.host, insecure), report=_telling(output)))
    give(output, data, lambda: _built(data, len(built.packages)))


def _built(data: dict[str, Any], packages: int) -> list[str]:
    what = f"{packages} packages on {data['base']} (Python {data['python']})"
    if data["modules"]:
        what += f", modules {', '.join(data['modules'])}"
    lines = [f"{data['digest']}  {_size(data['size'])}", what]
    if data.get("written"):
        lines.append(f"written to {data['written']}")
    if data["pushed"]:
        lines.append(f"pushed as {data['pushed']}")
    return lines


@image.command("build-platform")
@click.argument("parts", nargs=-1, metavar="[PART]...")
@click.option("--push", "prefix", metavar="PREFIX", help="Push them as PREFIX/mlplatform-PART:VERSION.")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Write each as FOLDER/PART.tar.")
@_insecure
@common
def build_platform(
    parts: Sequence[str], prefix: str | None, folder: Path | None, insecure: bool, home: str | None, output: str
) -> None:
    """Build the platform's own images (launcher, operator, server, mlflow; all of them if no PART is named), of the
    Python and packages that run this.
    """
    from mlplatform.images.platform import PARTS, build_part, push_platform

    wanted = tuple(parts) or tuple(PARTS)
    if folder is None and prefix is None:
        raise InvalidInput("Say where the images go.", hint="--push registry.example.com/team | --to DIR")
    found: dict[str, dict[str, str]] = {part: {} for part in wanted}
    if folder is not None:
        for part in wanted:
            built = build_part(part, folder / f"{part}.tar")
            found[part] |= {"digest": built.digest, "written": str(folder / f"{part}.tar")}
    if prefix is not None:
        for part, name in push_platform(prefix, wanted, insecure=insecure, report=_telling(output)).items():
            found[part] |= {"digest": name.digest, "pushed": str(name)}
    give(output, {"images": found}, lambda: [_platform_line(part, each) for part, each in found.items()])


def _platform_line(part: str, told: dict[str, str]) -> str:
    where = " and ".join(told[key] for key in ("written", "pushed") if key in told)
    return f"{part:9} {where}" + ("" if "pushed" in told else f"  {told['digest']}")


@image.command()
@click.argument("source", metavar="oci:FOLDER|oci-archive:FILE")
@click.argument("name", metavar="NAME")
@_insecure
@common
def push(source: str, name: str, insecure: bool, home: str | None, output: str) -> None:
    """Push the image of an OCI layout or archive to a registry, as NAME."""
    from mlplatform.images.layout import Layout
    from mlplatform.images.references import LayoutReference, Reference, parse_source
    from mlplatform.images.registry import push as push_image

    found, target = parse_source(source), Reference.parse(name)
    if not isinstance(found, LayoutReference):
        raise InvalidInput(
            f"{source!r} is no image on this machine.", hint="Write it as oci:FOLDER or oci-archive:FILE."
        )
    from mlplatform.images.base import from_layout
    from mlplatform.images.cache import image_cache

    layout = Layout(image_cache())
    descriptor = from_layout(found, layout, None)
    pushed = push_image(_registry(target.host, insecure), layout, descriptor, target, report=_telling(output))
    give(output, {"digest": descriptor.digest, "pushed": str(pushed)}, lambda: f"pushed as {pushed}")


@image.command()
@click.argument("name", metavar="NAME")
@click.argument("into", metavar="PATH")
@click.option("--platform", default="linux/amd64", show_default=True, help="linux/amd64 or linux/arm64.")
@_insecure
@common
def pull(name: str, into: str, platform: str, insecure: bool, home: str | None, output: str) -> None:
    """Pull an image into the OCI layout PATH, or into an archive if PATH ends with .tar."""
    from mlplatform.images.cache import image_cache
    from mlplatform.images.layout import Layout
    from mlplatform.images.model import Platform
    from mlplatform.images.references import Reference
    from mlplatform.images.registry import pull as pull_image

    source = Reference.parse(name)
    layout = Layout(image_cache())
    wanted = Platform.parse(platform)
    found = pull_image(_registry(source.host, insecure), source, layout, platform=wanted, report=_telling(output))
    written = _write(layout, found, into, str(source))
    give(output, {"digest": found.digest, "written": written}, lambda: f"{found.digest} written to {written}")


# ------------------------------------------------------------------ helpers
def _registry(host: str, insecure: bool) -> Registry:
    from mlplatform.images.registry import Registry
    from mlplatform.images.registry.transport import Transport

    return Registry(Transport(host, insecure=insecure))


def _write(layout: Layout, image: Descriptor, into: str, name: str) -> str:
    from mlplatform.images.layout import Layout as Written

    path = Path(into)
    if path.suffix == ".tar":
        layout.export(image, path, name)
    else:
        layout.copy(image, Written(path), name or image.digest)
    return str(path)


def _telling(output: str) -> Callable[[Told], None]:
    """One line a blob, on standard error, for people."""

    def tell(told: Told) -> None:
        if output == "text":
            write(f"{told.what:9} {told.blob.digest[7:19]} {_size(told.blob.size)}", error=True)

    return tell


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
