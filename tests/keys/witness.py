"""A witness by the C2SP specifications tlog-witness and tlog-cosignature, written for tests and sharing nothing with the program.

Usage: witness.py FOLDER. FOLDER/log.vkeys holds the keys that it trusts. It writes its own key to FOLDER/vkey and its port to FOLDER/port, keeps the
latest checkpoint in memory, and behaves as FOLDER/mode says: honest, garbage, huge, wrong-key, other-text, slow, redirect, forever-409.
"""
import base64, hashlib, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FOLDER, NAME, DASH = sys.argv[1], "witness.example/w1", "\u2014 "
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
LATEST = {}  # origin: (size, root)

def raw(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

def key_id(name, kind, public):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]

def file(name, text=None):
    path = os.path.join(FOLDER, name)
    if text is None:
        return open(path).read()
    open(path + ".new", "w").write(text)
    os.rename(path + ".new", path)

def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()

def consistent(first, second, first_root, second_root, proof):
    """RFC 9162, section 2.1.4.2."""
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof
    if not proof:
        return False
    if first & (first - 1) == 0:
        proof = [first_root] + proof
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for hash in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(hash, fr), node(hash, sr)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, hash)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_root and sr == second_root

def signed_by_a_known_key(text, lines):
    for vkey in file("log.vkeys").split():
        name, id, key = vkey.split("+", 2)
        public = base64.b64decode(key)[1:]
        for line in lines:
            found, blob = line[len(DASH):].rsplit(" ", 1)
            blob = base64.b64decode(blob)
            if found == name and blob[:4].hex() == id:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], text.encode())
                    return True
                except InvalidSignature:
                    pass
    return False

def cosign(text, key):
    now = int(time.time())
    signature = key.sign(f"cosignature/v1\ntime {now}\n{text}".encode())
    blob = key_id(NAME, 4, raw(KEY)) + now.to_bytes(8, "big") + signature
    return DASH + NAME + " " + base64.b64encode(blob).decode() + "\n"

class Witness(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body="", kind="text/plain", headers=()):
        with open(os.path.join(FOLDER, "asked"), "a") as asked:
            asked.write(f"{status}\n")
        body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        mode = file("mode").strip()
        if self.path != "/add-checkpoint":
            return self.answer(404)
        if mode == "garbage":
            return self.answer(200, "<html>\x1b[31m not what you asked for\n")
        if mode == "huge":
            return self.answer(200, "x" * (32 << 20))
        if mode == "slow":
            return time.sleep(30)
        if mode == "redirect":
            return self.answer(307, headers=[("Location", "http://127.0.0.1:1/add-checkpoint")])
        if mode == "forever-409":
            return self.answer(409, "0\n", "text/x.tlog.size")
        head, note = body.split("\n\n", 1)
        head = head.split("\n")
        assert head[0].startswith("old ")
        old, proof = int(head[0][4:]), [base64.b64decode(line, validate=True) for line in head[1:]]
        text, signatures = note.split("\n\n", 1)
        text += "\n"
        origin, size, root = text.split("\n")[:3]
        size, root = int(size), base64.b64decode(root)
        if not any(vkey.startswith(origin + "+") for vkey in file("log.vkeys").split()):
            return self.answer(404)
        if not signed_by_a_known_key(text, signatures.splitlines()):
            return self.answer(403)
        if old > size:
            return self.answer(400)
        known, known_root = LATEST.get(origin, (0, None))
        if old != known:
            return self.answer(409, f"{known}\n", "text/x.tlog.size")
        if old == size and known_root not in (None, root):
            return self.answer(409, f"{known}\n", "text/x.tlog.size")
        if not consistent(old, size, known_root, root, proof):
            return self.answer(422)
        LATEST[origin] = (size, root)
        if mode == "wrong-key":
            return self.answer(200, cosign(text, OTHER))
        if mode == "other-text":
            return self.answer(200, cosign(text.replace(str(size), str(size + 1)), KEY))
        # Signatures of others are to be ignored.
        noise = DASH + "other.example/w " + base64.b64encode(bytes(76)).decode() + "\n"
        self.answer(200, noise + cosign(text, KEY))

server = HTTPServer(("127.0.0.1", 0), Witness)
file("vkey", f"{NAME}+{key_id(NAME, 4, raw(KEY)).hex()}+{base64.b64encode(bytes([4]) + raw(KEY)).decode()}")
file("port", str(server.server_port))
server.serve_forever()
