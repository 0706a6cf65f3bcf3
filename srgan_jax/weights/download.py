"""Single files from the web, brought once into the cache. A transfer that was cut goes on where it stopped."""

import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from srgan_jax.errors import UserError
from srgan_jax.files import alone
from srgan_jax.weights.fetch import cache_dir

log = logging.getLogger(__name__)
TIMEOUT = 60  # seconds without a byte
CHUNK = 1 << 20
ELSEWHERE = "or fetch it on another machine and give the file's path"


class Remote(NamedTuple):
    """A file whose content is known beforehand."""

    url: str
    size: int
    algorithm: str  # of hashlib
    digest: str


# By (network, origin). Keras publishes an md5 (keras/applications/vgg19.py), torchvision the first eight digits of the
# sha256 in the name; the rest of it is as several projects that use the file have recorded it.
VGG = {
    ("vgg19", "caffe"): Remote(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        80_134_624,
        "md5",
        "253f8cb515780f3b799900260a226db6",
    ),
    ("vgg19", "torchvision"): Remote(
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        574_673_361,
        "sha256",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
}


def download(remote: Remote) -> Path:
    """The file in the cache, checked by size and digest whether it was fetched now or before.

    What arrived before a cut stays as NAME.partial, and the next call asks the server for the rest; if the server
    sends the whole instead, it starts over. Proxies are taken from the environment, as urllib does. One process fetches
    at a time; others wait for it.

    Raises:
      UserError: no connection, a cut, or a file that is not the known one (it is deleted).
      OSError: the cache cannot be written.
    """
    target = cache_dir() / "downloads" / remote.url.rsplit("/", 1)[-1]
    if _is_known(target, remote):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with alone(cache_dir() / "downloads.lock", f"fetches into {cache_dir()}"):
        if _is_known(target, remote):  # fetched by another in the meantime
            return target
        partial = target.with_name(f"{target.name}.partial")
        partial.touch()
        if partial.stat().st_size < remote.size:
            _fetch(remote, partial)
        if not _is_known(partial, remote):
            partial.unlink()
            raise UserError(
                f"{remote.url}: what came is not the known file of {remote.size} bytes with {remote.algorithm} "
                f"{remote.digest}; it was deleted: try again, {ELSEWHERE}"
            )
        return partial.replace(target)


def _is_known(path: Path, remote: Remote) -> bool:
    if not path.is_file() or path.stat().st_size != remote.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, remote.algorithm).hexdigest() == remote.digest


def _fetch(remote: Remote, partial: Path) -> None:
    """Appends to `partial` what it lacks; returns once it has the known size or more."""
    have = partial.stat().st_size
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={have}-"} if have else {})
    reason = "the connection was cut"
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            offered = (answer.length or 0) + (have if goes_on else 0)
            if answer.length is not None and offered != remote.size:
                if goes_on or not have:  # else it may be any page: what came earlier stays
                    partial.unlink()
                sizes = f"the server has {offered} bytes, the known file {remote.size}"
                raise UserError(f"{remote.url}: {sizes}: try again later, {ELSEWHERE}")
            log.info(
                "fetching %s: %.0f of %.0f MB", remote.url, (remote.size - have * goes_on) / 1e6, remote.size / 1e6
            )
            with partial.open("ab" if goes_on else "wb") as file:
                while file.tell() <= remote.size and (chunk := answer.read(CHUNK)):
                    file.write(chunk)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the file there ends before `have`
            partial.unlink()
        raise UserError(f"{remote.url}: the server answers {error.code} {error.reason}; try again later") from error
    except (OSError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
    have = partial.stat().st_size
    if have < remote.size:
        came = f"{have} of {remote.size} bytes came ({reason})"
        raise UserError(f"{remote.url}: {came}; run it again to go on from there, {ELSEWHERE}")
