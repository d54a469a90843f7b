"""A read-only FUSE file system over a folder, in plain Python: `fuse_daemon.py BACKING POINT`. One level of folders.

It answers everything afresh (the kernel caches nothing), so that whoever looks waits while this process is stopped.
"""

import ctypes
import errno
import os
import stat
import struct
import sys
from pathlib import Path

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 17, 18, 25, 26
OPENDIR, READDIR, RELEASEDIR, BATCH_FORGET = 27, 28, 29, 42
IN_HEADER = struct.Struct("<IIQQIIII")
OUT_HEADER = struct.Struct("<IiQ")
BUFFER_BYTES = 1 << 18


class Server:
    """Answers requests about one folder."""

    def __init__(self, backing: Path) -> None:
        self.paths = {1: backing}
        self.numbers = {backing: 1}

    def number(self, path: Path) -> int:
        if path not in self.numbers:
            self.numbers[path] = len(self.numbers) + 1
            self.paths[self.numbers[path]] = path
        return self.numbers[path]

    def attributes(self, path: Path) -> bytes:
        status = path.lstat()
        times = (int(status.st_atime), status.st_mtime_ns // 10**9, status.st_ctime_ns // 10**9)
        parts = (0, status.st_mtime_ns % 10**9, status.st_ctime_ns % 10**9)
        head = struct.pack("<6Q3I", self.number(path), status.st_size, status.st_blocks, *times, *parts)
        return head + struct.pack("<7I", status.st_mode, status.st_nlink, status.st_uid, status.st_gid, 0, 4096, 0)

    def answer(self, code: int, node: int, body: bytes) -> bytes | None:  # noqa: PLR0911  one return a request
        """The answer's body; None where none is wanted. Raises `OSError` for an error."""
        if code in (FORGET, BATCH_FORGET):
            return None
        if code == INIT:
            return struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 16, 12, 65536, 1, 0, 0, 0) + bytes(28)
        path = self.paths[node]
        if code == LOOKUP:
            found = path / os.fsdecode(body.rstrip(b"\0"))
            attributes = self.attributes(found)
            return struct.pack("<QQQQII", self.number(found), 0, 0, 0, 0, 0) + attributes
        if code == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attributes(path)
        if code in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, 1, 0)  # direct: no page cache
        if code == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            with path.open("rb") as file:
                return os.pread(file.fileno(), size, offset)
        if code == READDIR:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self.entries(path, offset, size)
        if code == STATFS:
            return struct.pack("<5Q6I", 1000, 500, 500, 1000, 500, 4096, 255, 4096, 0, 0, 0) + bytes(16)
        if code in (RELEASE, RELEASEDIR, FLUSH):
            return b""
        raise OSError(errno.ENOSYS, "")

    def entries(self, path: Path, offset: int, size: int) -> bytes:
        made = b""
        for position, entry in enumerate(sorted(path.iterdir())[offset:], start=offset + 1):
            name = os.fsencode(entry.name)
            kind = stat.S_IFMT(entry.lstat().st_mode) >> 12
            record = struct.pack("<QQII", self.number(entry), position, len(name), kind) + name
            record += bytes(-len(record) % 8)
            if len(made) + len(record) > size:
                break
            made += record
        return made


def main(backing: Path, point: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"test", point.encode(), b"fuse.test", 1 | 2 | 4, options):
        raise OSError(ctypes.get_errno(), "mount")
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    server = Server(backing)
    while True:
        try:
            request = os.read(device, BUFFER_BYTES)
        except OSError:
            return  # unmounted
        _, code, unique, node, *_ = IN_HEADER.unpack_from(request)
        try:
            answer, fault = server.answer(code, node, request[IN_HEADER.size :]), 0
        except OSError as error:
            answer, fault = b"", -(error.errno or errno.EIO)
        if answer is not None:
            try:
                os.write(device, OUT_HEADER.pack(OUT_HEADER.size + len(answer), fault, unique) + answer)
            except OSError:
                continue  # whoever asked has gone


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
