"""A FUSE file system over a folder, in plain Python: `fuse_daemon.py BACKING POINT`.

It answers everything afresh (the kernel caches nothing), so that whoever looks waits while this process is stopped. As
long as `BACKING.fault` holds the number of an error, every write ends with that error.
"""

import ctypes
import errno
import os
import stat
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

IN_HEADER = struct.Struct("<IIQQIIII")
OUT_HEADER = struct.Struct("<IiQ")
SET_MODE, SET_SIZE = 1, 8
BUFFER_BYTES = 1 << 18


class Server:
    """Answers requests about one folder: each method has the request's node and body, and gives the answer's body."""

    def __init__(self, backing: Path) -> None:
        self.fault = backing.with_name(f"{backing.name}.fault")
        self.paths = {1: backing}
        self.numbers = {backing: 1}
        self.operations: dict[int, Callable[[int, bytes], bytes | None]] = {
            1: self.lookup, 2: self.forget, 3: self.getattr, 4: self.setattr, 9: self.mkdir, 10: self.unlink,
            11: self.rmdir, 13: self.link, 14: self.open, 15: self.read, 16: self.write, 17: self.statfs,
            18: self.done, 20: self.done, 25: self.done, 26: self.init, 27: self.open, 28: self.readdir, 29: self.done,
            30: self.done, 35: self.create, 42: self.forget, 45: self.rename,
        }  # fmt: skip

    def below(self, node: int, name: bytes) -> Path:
        return self.paths[node] / os.fsdecode(name.rstrip(b"\0"))

    def number(self, path: Path) -> int:
        if path not in self.numbers:
            self.numbers[path] = len(self.numbers) + 1
            self.paths[self.numbers[path]] = path
        return self.numbers[path]

    def attributes(self, path: Path) -> bytes:
        status = path.lstat()
        times = (int(status.st_atime), status.st_mtime_ns // 10**9, status.st_ctime_ns // 10**9)
        parts = (0, status.st_mtime_ns % 10**9, status.st_ctime_ns % 10**9)
        head = struct.pack("<6Q3I", status.st_ino, status.st_size, status.st_blocks, *times, *parts)
        return head + struct.pack("<7I", status.st_mode, status.st_nlink, status.st_uid, status.st_gid, 0, 4096, 0)

    def entry(self, path: Path) -> bytes:
        attributes = self.attributes(path)
        return struct.pack("<QQQQII", self.number(path), 0, 0, 0, 0, 0) + attributes

    def init(self, _node: int, _body: bytes) -> bytes:
        return struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 16, 12, 65536, 1, 0, 0, 0) + bytes(28)

    def forget(self, _node: int, _body: bytes) -> None:
        return None

    def done(self, _node: int, _body: bytes) -> bytes:
        return b""

    def lookup(self, node: int, body: bytes) -> bytes:
        return self.entry(self.below(node, body))

    def getattr(self, node: int, _body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self.attributes(self.paths[node])

    def setattr(self, node: int, body: bytes) -> bytes:
        valid, _, _, size, _, _, _, _, _, _, _, mode = struct.unpack_from("<IIQQQQQQIIII", body)
        if valid & SET_MODE:
            self.paths[node].chmod(stat.S_IMODE(mode))
        if valid & SET_SIZE:
            os.truncate(self.paths[node], size)
        return self.getattr(node, b"")

    def open(self, _node: int, _body: bytes) -> bytes:
        return struct.pack("<QII", 0, 1, 0)  # direct: no page cache

    def read(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        with self.paths[node].open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    def write(self, node: int, body: bytes) -> bytes:
        if self.fault.exists():
            raise OSError(int(self.fault.read_text()), "as asked")
        _, offset, size = struct.unpack_from("<QQI", body)
        with self.paths[node].open("r+b") as file:
            return struct.pack("<II", os.pwrite(file.fileno(), body[40 : 40 + size], offset), 0)

    def create(self, node: int, body: bytes) -> bytes:
        mode, path = struct.unpack_from("<I", body, 4)[0], self.below(node, body[16:])
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, stat.S_IMODE(mode)))
        return self.entry(path) + self.open(node, b"")

    def mkdir(self, node: int, body: bytes) -> bytes:
        path = self.below(node, body[8:])
        path.mkdir(mode=stat.S_IMODE(struct.unpack_from("<I", body)[0]))
        return self.entry(path)

    def unlink(self, node: int, body: bytes) -> bytes:
        self.below(node, body).unlink()
        return b""

    def rmdir(self, node: int, body: bytes) -> bytes:
        self.below(node, body).rmdir()
        return b""

    def link(self, node: int, body: bytes) -> bytes:
        path = self.below(node, body[8:])
        path.hardlink_to(self.paths[struct.unpack_from("<Q", body)[0]])
        return self.entry(path)

    def rename(self, node: int, body: bytes) -> bytes:
        folder = struct.unpack_from("<Q", body)[0]
        before, after = body[16:].rstrip(b"\0").split(b"\0")
        self.below(node, before).rename(self.below(folder, after))
        return b""

    def statfs(self, _node: int, _body: bytes) -> bytes:
        blocks = 1 << 20
        return struct.pack("<5Q6I", blocks, blocks, blocks, 1000, 500, 4096, 255, 4096, 0, 0, 0) + bytes(16)

    def readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        made = b""
        for position, entry in enumerate(sorted(self.paths[node].iterdir())[offset:], start=offset + 1):
            name = os.fsencode(entry.name)
            status = entry.lstat()
            record = struct.pack("<QQII", status.st_ino, position, len(name), stat.S_IFMT(status.st_mode) >> 12) + name
            record += bytes(-len(record) % 8)
            if len(made) + len(record) > size:
                break
            made += record
        return made


def main(backing: Path, point: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    no_devices_no_setuid = 2 | 4
    if libc.mount(b"test", point.encode(), b"fuse.test", no_devices_no_setuid, options):
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
        operation = server.operations.get(code)
        answer: bytes | None = b""
        fault = 0 if operation is not None else -errno.ENOSYS
        try:
            if operation is not None:
                answer = operation(node, request[IN_HEADER.size :])
        except OSError as error:
            fault = -(error.errno or errno.EIO)
        if answer is not None:
            try:
                os.write(device, OUT_HEADER.pack(OUT_HEADER.size + len(answer), fault, unique) + answer)
            except OSError:
                continue  # whoever asked has gone


if __name__ == "__main__":
    os.umask(0)
    main(Path(sys.argv[1]), sys.argv[2])
