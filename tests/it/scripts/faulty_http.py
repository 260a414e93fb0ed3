"""An HTTP server with faults. The first part of a path is the fault, the rest a file below the given folder.

Prints its port, then a line for each request: path, Range, status.
"""
import http.server
import os
import socket
import struct
import sys
import time

root = sys.argv[1]
seen = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def tell(self, status):
        print(self.path, self.headers.get("Range", "-"), status, flush=True)

    def answer(self, status, body=b"", **headers):
        self.tell(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self, reset=False):
        if reset:
            # Without lingering, the kernel sends RST on close.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.flush()
        self.close_connection = True
        self.connection.close()

    def do_GET(self):
        _, fault, name = self.path.split("/", 2)
        seen[self.path] = seen.get(self.path, 0) + 1
        first = seen[self.path] == 1
        is_list = name.endswith("SUMS")
        path = os.path.join(root, name)
        if fault == "status":
            return self.answer(int(name.split("-")[0]))
        if fault == "loop":
            return self.answer(302, Location="/loop/" + name)
        if fault == "redirect":
            return self.answer(302, Location="/ok/" + name)
        if fault == "html" and not is_list:
            return self.answer(200, b"<!DOCTYPE html><title>Welcome to the hotel's network</title>")
        if fault == "wrong-sums" and is_list:
            path = os.path.join(root, "other", name)
        if fault == "moving" and (not first if is_list else True):
            # The first answer has the list of the old image, but the image is already the new one.
            path = os.path.join(root, "new", name)
        if fault == "short-sums" and is_list:
            return self.answer(200, b"0123456789  x.qcow2\n")
        with open(path, "rb") as file:
            data = bytearray(file.read())
        tag = '"%d-%d"' % (len(data), data[len(data) // 2] if data else 0)
        if is_list:
            return self.answer(200, bytes(data))
        if fault == "flip":
            data[len(data) // 2] ^= 1
        start = 0
        status = 200
        headers = {"ETag": tag, "Accept_Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if wanted and fault not in ("no-range", "cut-always-no-range") and self.headers.get("If-Range", tag) == tag:
            start = int(wanted[6:-1])
            if start >= len(data):
                return self.answer(416)
            status = 206
            told = start + 1 if fault == "other-part" else start
            headers["Content_Range"] = "bytes %d-%d/%d" % (told, len(data) - 1, len(data))
        body = bytes(data[start:])
        cuts = {"cut": True, "reset": True, "cut-once": first, "no-range": first, "other-part": first}
        if cuts.get(fault):
            self.answer(status, body[: min(len(body) // 2, 1 << 20)], Content_Length=str(len(body)), **headers)
            return self.hang_up(reset=fault == "reset")
        if fault == "slow":
            self.answer(status, b"", Content_Length=str(len(body)), **headers)
            for at in range(0, len(body), 1 << 16):
                self.wfile.write(body[at : at + (1 << 16)])
                time.sleep(0.05)
            return None
        self.answer(status, body, **headers)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass  # the client closed the connection, as some tests do


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
