"""The command line of the miniature."""

from __future__ import annotations

import argparse
from pathlib import Path

from miniature.build import build
from miniature.server import Server
from miniature.sources import MadeRows, MadeVideos, RealRows, RealVideos


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m miniature", description="A miniature of the official server.")
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="write the miniature to a folder")
    builder.add_argument("folder", type=Path)
    builder.add_argument("--clips", type=Path, help="a folder of real video files; made ones without")
    builder.add_argument("--annotations", type=Path, help="a folder of official annotation files; made rows without")
    server = commands.add_parser("serve", help="serve it on loopback until interrupted")
    server.add_argument("folder", type=Path)
    server.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.command == "build":
        videos = RealVideos(options.clips) if options.clips else MadeVideos()
        rows = RealRows(options.annotations) if options.annotations else MadeRows()
        build(options.folder, videos, rows)
        print(f"built {options.folder}")
        return
    with Server(options.folder, options.port) as http:
        print(http.url, flush=True)
        try:
            http.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
