#!/usr/bin/env bash
# Apache httpd 2.4.71 (Debian 12, 2.4.71-1~deb12u1) as a reverse proxy (mod_proxy_http) passes a backend's answer with
# status 400, 413, 500, 501 or 503 on to the client, body and all, but adds "Connection: close" and ends the client's
# keep-alive connection. The backend did not ask for it. After 200, 401, 403, 404, 405, 422, 429, 502 and 504 the
# connection stays open.
#
# Why it matters: AWS KMS keeps connections to an external key store proxy open. Behind httpd each 400 or 503 costs KMS
# a new TCP and TLS handshake, when the key manager behind is least able to afford it; 429 does not.
#
# Exit status 0: the behaviour is as described. 1: it has changed. Needs apt-get, dpkg and Python 3.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

apt-get -qq download apache2-bin=2.4.71-1~deb12u1 libapr1=1.7.2-3+deb12u1 libaprutil1=1.6.3-1+deb12u1 2>/dev/null
for package in ./*.deb; do
    dpkg -x "$package" root
done
LD_LIBRARY_PATH=$(echo "$folder"/root/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH
root/usr/sbin/apache2 -v | head -1

python3 - "$folder" <<'END' | tee seen
import http.client, http.server, socket, subprocess, sys, threading, time

folder = sys.argv[1]
statuses = (200, 400, 401, 403, 404, 405, 413, 422, 429, 500, 501, 502, 503, 504)


class Backend(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"status": %s}' % self.path[1:].encode()
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
threading.Thread(target=backend.serve_forever, daemon=True).start()
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
modules = ("mpm_event", "authz_core", "proxy", "proxy_http")
with open(f"{folder}/httpd.conf", "w") as conf:
    conf.write(f"ServerRoot {folder}\nServerName localhost\nDefaultRuntimeDir {folder}\nPidFile {folder}/pid\n")
    conf.write(f"ErrorLog {folder}/error.log\nListen 127.0.0.1:{port}\n")
    conf.writelines(f"LoadModule {m}_module {folder}/root/usr/lib/apache2/modules/mod_{m}.so\n" for m in modules)
    conf.write(f'ProxyPass "/" "http://127.0.0.1:{backend.server_port}/"\n')
httpd = subprocess.Popen([f"{folder}/root/usr/sbin/apache2", "-f", f"{folder}/httpd.conf", "-DFOREGROUND"])
try:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    for status in statuses:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("POST", f"/{status}", b"{}")
        answer = client.getresponse()
        assert answer.status == status and answer.read() == b'{"status": %d}' % status
        print(status, "closed" if answer.getheader("Connection") == "close" else "kept open")
        client.close()
finally:
    httpd.terminate()
    httpd.wait()
END

diff seen - <<'END'
200 kept open
400 closed
401 kept open
403 kept open
404 kept open
405 kept open
413 closed
422 kept open
429 kept open
500 closed
501 closed
502 kept open
503 closed
504 kept open
END
