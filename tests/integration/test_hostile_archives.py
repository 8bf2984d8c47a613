"""Archives that are damaged, or made by somebody who means harm."""

import gzip
import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from harness import Ran, kconvert, tree
from miniature.build import write
from miniature.made import make_clip

OFFICIAL = "https://s3.amazonaws.com/kinetics/"
NAMES = [f"clip-{number:06d}_000000_000010" for number in range(6)]
ESCAPE = "\x1b]0;owned\x07\x1b[31m"


def member(name: str | bytes, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: object) -> bytes:
    """A header, and the data padded to whole blocks; long names as GNU tar stores them."""
    raw = name if isinstance(name, bytes) else name.encode()
    info = tarfile.TarInfo("x" * 20)
    info.type, info.size = kind, len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[:100] = raw[:100].ljust(100, b"\0")
    # The sum of all bytes, with spaces in its own place (POSIX ustar).
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    block = bytes(header) + data + bytes(-len(data) % 512)
    return member("././@LongLink", raw + b"\0", tarfile.GNUTYPE_LONGNAME) + block if len(raw) > 100 else block


END = bytes(1024)


def origin(root: Path, *hostile: bytes) -> Path:
    """k400's val of these archives, and a good last one."""
    good = member(f"./{NAMES[5]}.mp4", make_clip("good", NAMES[5])) + END
    archives = (*hostile, gzip.compress(good, mtime=0))
    for number, data in enumerate(archives):
        write(root / f"400/val/part_{number}.tar.gz", data)
    urls = "".join(f"{OFFICIAL}400/val/part_{number}.tar.gz\n" for number in range(len(archives)))
    write(root / "400/val/k400_val_path.txt", urls.encode())
    lines = ["label,youtube_id,time_start,time_end,split", *(f"zumba,{name[:11]},0,10,val" for name in NAMES)]
    write(root / "400/annotations/val.csv", "\n".join(lines).encode())
    return root


def convert(tmp_path: Path, hostile: bytes, out: str = "out") -> Ran:
    root = origin(tmp_path / f"{out}-origin", hostile)
    return kconvert("k400", "--split", "val", "--out", tmp_path / out, "--origin", root)


def good_tar(num_clips: int = 4) -> bytes:
    return b"".join(member(f"./{name}.mp4", make_clip("good", name)) for name in NAMES[:num_clips]) + END


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


def at_a_member(tar: bytes) -> bytes:
    """The tar up to where its second member begins."""
    size = len(make_clip("good", NAMES[0]))
    return tar[: 512 + -(-size // 512) * 512]


DAMAGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "flipped at 20": (lambda: flipped(gzip.compress(good_tar()), 20), "gzip stream is damaged"),
    "flipped in the middle": (lambda: flipped(gzip.compress(good_tar()), 60_000), "gzip"),
    "flipped in the checksum": (lambda: flipped(gzip.compress(good_tar()), -6), "gzip stream is damaged"),
    "flipped in the length": (lambda: flipped(gzip.compress(good_tar()), -2), "gzip stream is damaged"),
    "no trailer": (lambda: gzip.compress(good_tar())[:-8], "the archive was cut"),
    "half a trailer": (lambda: gzip.compress(good_tar())[:-4], "the archive was cut"),
    "garbage after the gzip": (lambda: gzip.compress(good_tar()) + b"garbage", "follows the end of the gzip stream"),
    "garbage after the tar": (lambda: gzip.compress(good_tar() + b"garbage" * 100), "follows the end of the tar"),
    "cut between members of a plain tar": (lambda: at_a_member(good_tar()), "it was cut"),
    "cut in a member": (lambda: gzip.compress(good_tar()[:5000]), "it was cut"),
    "empty": (lambda: b"", "is empty (0 bytes)"),
    "empty gzip": (lambda: gzip.compress(b""), "it was cut"),
    "zeros": (lambda: bytes(50_000), "begins with zeros only"),
    "a page": (lambda: b"<html>\x1b[31m</html>" * 100, "expected a gzip or a tar"),
    "100 GB declared": (
        lambda: gzip.compress(member(f"{NAMES[0]}.mp4", size=10**11)[:512] + bytes(2048)),
        "bytes too early: it was cut",
    ),
    "a long name of 1 GB": (
        lambda: gzip.compress(member("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME, size=10**9)[:512]),
        "a header extension declares 1,000,000,000 bytes",
    ),
    "a negative size": (
        lambda: gzip.compress(member(f"{NAMES[0]}.mp4", size=-512)[:512] + END),
        "declares -512 bytes",
    ),
    "a name of a megabyte, and then cut": (
        lambda: gzip.compress(
            member("././@LongLink", b"k" * 990_000 + b"\0", tarfile.GNUTYPE_LONGNAME)
            + member("x.mp4", b"x" * 5000)[:1024]
        ),
        "it was cut",
    ),
    "a bomb": (lambda: gzip.compress(member(f"{NAMES[0]}.mp4", bytes(1 << 28)) + END, 1), "as videos do not compress"),
    "a million empty members": (
        lambda: gzip.compress(member(f"{NAMES[0]}.mp4") * 1_000_000 + END, 1),
        "as videos do not compress",
    ),
    "clips of zeros": (
        lambda: gzip.compress(
            b"".join(
                member(f"{name}.mp4", make_clip("good", name) + b"\0\x60\0\0free" + bytes(6 << 20))
                for name in NAMES[:4]
            )
            + END
        ),
        "as videos do not compress",
    ),
}


def test_damaged_archives_are_named_and_cost_themselves_only(tmp_path: Path) -> None:
    root, out, good = tmp_path / "origin", tmp_path / "out", gzip.compress(good_tar())
    command = ("k400", "--split", "val", "--origin", root)
    origin(root, *(make() for make, _ in DAMAGED.values()))
    ran = kconvert(*command, "--out", out)
    assert ran.code == 3, ran.err
    lines = ran.out.splitlines()
    for number, (damage, (_, said)) in enumerate(DAMAGED.items()):
        line = next(line for line in lines if f"400/val/part_{number}.tar.gz" in line)
        assert said in line, damage
        assert len(line) < 1000, damage
    assert "\x1b" not in ran.out + ran.err
    failed = {f"{number:06d}.failed" for number in range(len(DAMAGED))}
    whole = {f"{len(DAMAGED):06d}.{ending}" for ending in ("json", "part", "rows")}
    assert {path.name for path in (out / ".kconvert/val/archives").iterdir()} == failed | whole
    origin(root, *(good for _ in DAMAGED))
    assert kconvert(*command, "--out", out).code == 0
    assert kconvert(*command, "--out", tmp_path / "undisturbed").code == 0
    assert tree(out) == tree(tmp_path / "undisturbed")


def test_several_gzip_members_in_one_archive_are_one_archive(tmp_path: Path) -> None:
    tar = good_tar()
    pieces = b"".join(gzip.compress(tar[start : start + 30_000]) for start in range(0, len(tar), 30_000))
    for out, data in (("one", gzip.compress(tar)), ("several", pieces), ("plain", tar)):
        assert convert(tmp_path, data, out).code == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "several") == tree(tmp_path / "plain")


HOSTILE: Sequence[tuple[str, bytes]] = [
    ("a way out", member("../../../escaped.mp4", b"x")),
    ("an absolute path", member("/tmp/escaped.mp4", b"x")),
    ("a clip on a way out", member(f"../../{NAMES[0]}.mp4", make_clip("good", NAMES[0]))),
    ("a clip at an absolute path", member(f"/etc/{NAMES[1]}.mp4", make_clip("good", NAMES[1]))),
    ("a link", member(f"{NAMES[2]}.mp4", kind=tarfile.SYMTYPE, linkname="/etc/passwd")),
    ("a hard link", member("hard.mp4", kind=tarfile.LNKTYPE, linkname="../../etc/passwd")),
    ("a link for a folder", member("folder", kind=tarfile.SYMTYPE, linkname="/")),
    ("a clip below that link", member(f"folder/{NAMES[3]}.mp4", make_clip("good", NAMES[3]))),
    ("a device", member("device.mp4", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    ("a block device", member("disk.mp4", kind=tarfile.BLKTYPE)),
    ("a pipe", member("pipe.mp4", kind=tarfile.FIFOTYPE)),
    ("a name that is no text", member(b"\xff\xfe\x00.mp4"[:2] + b".mp4", b"x")),
    ("a name of lines", member("two\nlines.mp4", b"x")),
    ("a name that turns the terminal red", member(f"{ESCAPE}.mp4", b"x")),
    ("a name that turns the reading direction", member("\u202e4pm.mp4", b"x")),
    ("a name in capitals", member(f"{NAMES[4].upper()}.mp4", make_clip("good", "x"))),
    ("the name in small letters", member(f"{NAMES[4]}.mp4", make_clip("good", NAMES[4]))),
    ("an ending in capitals", member(f"{NAMES[0]}.MP4", b"x")),
    ("a name of 4,000 characters", member("k" * 3996 + ".mp4", b"x")),
    ("a clip in a folder of 4,000 characters", member("k" * 4000 + f"/{'z' * 11}_000000_000010.mp4", b"")),
    ("no name", member("", b"x")),
    ("only dots", member("..", b"x")),
    ("a clip that the reader would hide", member("__" + NAMES[0][2:] + ".mp4", b"")),
    ("a clip that looks like an option", member("--" + NAMES[0][2:] + ".mp4", b"")),
    ("an unknown kind of member", member("odd.mp4", b"x", kind=b"Z")),
]
REFUSED = (
    "../../../escaped.mp4", "/tmp/escaped.mp4", f"{NAMES[2]}.mp4", "hard.mp4", "device.mp4", "disk.mp4", "pipe.mp4",
    "\\udcff\\udcfe.mp4", "two\\nlines.mp4", "\\x1b]0;owned\\x07\\x1b[31m.mp4", "\\u202e4pm.mp4", f"{NAMES[0]}.MP4",
    "kkkkkkkk", "odd.mp4",
)  # fmt: skip


def outside(folder: Path) -> dict[str, int]:
    """What stands in places that a hostile archive would write to."""
    places = [folder, Path("/tmp"), Path("/etc"), Path.cwd(), Path.cwd().parent]
    return {
        str(path): path.lstat().st_mtime_ns if place == Path("/etc") else 0
        for place in places
        for path in place.iterdir()
        if "escaped" in path.name or place in (Path("/etc"), folder)
    }


def test_hostile_members_are_refused_or_counted_by_name_and_write_nowhere(tmp_path: Path) -> None:
    (tmp_path / "out-origin").mkdir()
    (tmp_path / "out").mkdir()
    before = outside(tmp_path)
    ran = convert(tmp_path, gzip.compress(b"".join(data for _, data in HOSTILE) + END))
    assert ran.code == 0, ran.err
    assert outside(tmp_path) == before
    status, listed = kconvert("status", tmp_path / "out"), kconvert("status", tmp_path / "out", "--json")
    for said in (ran.out, ran.err, status.out, listed.out):
        assert all(char.isprintable() or char == "\n" for char in said)
    refused = json.loads(listed.out)["splits"][0]["listings"]["refused_members"]
    for name in REFUSED:
        assert sum(f"400/val/part_0.tar.gz: {name}" in line for line in refused) == 1, (name, refused)
    counts = json.loads((tmp_path / "out/manifest.json").read_text())["splits"]["val"]
    rows = pq.read_table(tmp_path / "out/metadata/val.parquet").to_pylist()
    # The good archive's one clip, and those here whose name is a clip's.
    assert counts["num_members"] == len(HOSTILE) + 1
    assert counts["num_clip_members"] == 9
    assert counts["num_unparsed_members"] + counts["num_ignored_members"] == len(HOSTILE) - 8
    assert len(refused) == len(REFUSED)
    assert counts["num_missing"] == 1
    keys = {row["key"]: row for row in rows}
    assert len(keys) == len(rows) == 10
    assert keys[f"val_{NAMES[0]}"]["member"] == f"../../{NAMES[0]}.mp4"
    assert {f"val_{NAMES[4]}", f"val_{NAMES[4].upper()}"} <= set(keys)
    assert all(len(row["member"]) <= 1000 and row["member"].isprintable() for row in rows)
    assert kconvert("verify", tmp_path / "out").code == 0
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]


def test_many_empty_members_are_counted(tmp_path: Path) -> None:
    """Half of them are clips by their names; the names that are listed are bounded, the counts are not."""
    number = 20_000
    names = [f"{n:011d}_000000_000010.mp4" if n % 2 else f"nothing {n}.mp4" for n in range(number)]
    ran = convert(tmp_path, gzip.compress(b"".join(map(member, names)) + END, 1))
    assert ran.code == 0, ran.err
    counts = json.loads((tmp_path / "out/manifest.json").read_text())["splits"]["val"]
    assert counts["num_members"] == number + 1
    assert counts["num_unparsed_members"] == number // 2
    assert counts["num_rejected"]["empty"] == number // 2
    status = json.loads(kconvert("status", tmp_path / "out", "--json").out)
    assert len(status["splits"][0]["listings"]["refused_members"]) == 1000
    assert kconvert("verify", tmp_path / "out").code == 0


def test_clips_over_the_limit_are_rows(tmp_path: Path) -> None:
    """A member of 300 MB under the name of a clip, which does not compress: it is passed over, and its row says so."""
    size = 300_000_000
    head = member(f"{NAMES[0]}.mp4", size=size)[:512]
    rest = b"".join(member(f"{name}.mp4", make_clip("good", name)) for name in NAMES[1:3]) + END
    block = os.urandom(1 << 20)
    padded = -(-size // 512) * 512
    ran = convert(tmp_path, head + (block * (padded // len(block) + 1))[:padded] + rest)
    assert ran.code == 0, ran.err
    rows = {row["key"]: row for row in pq.read_table(tmp_path / "out/metadata/val.parquet").to_pylist()}
    row = rows[f"val_{NAMES[0]}"]
    assert (row["status"], row["reason"], row["size_bytes"]) == ("rejected", "unreadable", size)
    assert "more than the limit" in row["detail"]
    assert rows[f"val_{NAMES[1]}"]["status"] == "written"


def test_clips_that_are_hard_links_are_written_with_the_bytes_that_they_share(tmp_path: Path) -> None:
    """Each in a shard of its own: what is in one gives its space back, which the others are still to be read from."""
    names = [f"linked-{number:04d}_000000_000010" for number in range(4)]
    data = make_clip("good", names[0])
    links = [tarfile.TarInfo(f"{name}.mp4") for name in names[1:]]
    for link in links:
        link.type, link.linkname = tarfile.LNKTYPE, f"{names[0]}.mp4"
    headers = b"".join(link.tobuf(tarfile.GNU_FORMAT) for link in links)
    root = tmp_path / "server"
    write(root / "400/val/part_0.tar.gz", gzip.compress(member(f"{names[0]}.mp4", data) + headers + END))
    url = "https://s3.amazonaws.com/kinetics/400/val/part_0.tar.gz\n"
    write(root / "400/val/k400_val_path.txt", url.encode())
    rows = "".join(f"zumba,{name[:11]},0,10,val\n" for name in names)
    write(root / "400/annotations/val.csv", f"label,youtube_id,time_start,time_end,split\n{rows}".encode())
    out = tmp_path / "out"
    ran = kconvert("k400", "--split", "val", "--out", out, "--origin", root, "--shard.max_samples", 1, "--workers", 1)
    assert ran.code == 0, ran.err
    found = pq.read_table(out / "metadata/val.parquet").to_pylist()
    assert [row["status"] for row in found] == ["written"] * 4
    assert {row["sha256"] for row in found} == {hashlib.sha256(data).hexdigest()}
    assert kconvert("verify", out).code == 0
