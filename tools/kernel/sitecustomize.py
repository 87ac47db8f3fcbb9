"""Python loads this by itself in every process that a chapter starts, kernel and subprocesses, because the runner puts
this folder on PYTHONPATH. It notes which of the book's files a chapter reads and keeps the network closed.
"""
import os
import sys


def watch(root: str, log: str) -> None:
    "Append each of the project's files that is read to `log`, once; refuse connections that leave this machine."
    seen = set()
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    local = ("127.", "::1", "localhost", "0.0.0.0")

    def outside(address) -> bool:
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(host, bytes):
            host = host.decode(errors="replace")
        return isinstance(address, tuple) and isinstance(host, str) and host != "" and not host.startswith(local)

    def hook(event: str, args: tuple) -> None:
        if event == "open":
            path, mode = args[0], args[1]
            if isinstance(path, bytes):
                path = os.fsdecode(path)
            if not isinstance(path, str) or path in seen or (isinstance(mode, str) and mode[:1] in "wax"):
                return
            seen.add(path)
            full = os.path.abspath(path)
            if full.startswith(root):
                os.write(out, (full + "\n").encode())
        elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and outside(args[1]):
            raise ConnectionRefusedError(f"the network is closed while chapters run; this cell asked for {args[1][0]}")
        elif event == "socket.getaddrinfo" and args[0] and outside((args[0],)):
            raise ConnectionRefusedError(f"the network is closed while chapters run; this cell asked for {args[0]}")

    sys.addaudithook(hook)


if os.environ.get("LLM_BOOK_WATCH"):
    watch(*os.environ["LLM_BOOK_WATCH"].split(os.pathsep))
