"""The tests' client with connections that are kept: a life asks hundreds of times, and a handshake costs more than an answer."""

import http.client
import io
import json
import ssl
import threading
import urllib.error
import urllib.parse
from email.message import Message

from tests.operator.live import Api, Manifest

SECONDS = 30.0


class KeptApi(Api):
    """One connection for each thread."""

    def __init__(self, api: Api) -> None:
        super().__init__(api.server)
        self._own = threading.local()
        self._context = ssl.create_default_context(cafile=str(api.server.folder / "certs" / "apiserver.crt"))

    def request(self, method: str, path: str, body: Manifest | None = None, *, content: str = "application/json") -> Manifest:
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": content}
        data = json.dumps(body).encode() if body is not None else None
        try:
            connection = self._connected()
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self._own.connection = None
            raise
        if answer.status >= 400:
            raise urllib.error.HTTPError(self.server.url + path, answer.status, answer.reason, Message(), io.BytesIO(text))
        return json.loads(text)

    def _connected(self) -> http.client.HTTPSConnection:
        if getattr(self._own, "connection", None) is None:
            host = urllib.parse.urlsplit(self.server.url).netloc
            self._own.connection = http.client.HTTPSConnection(host, timeout=SECONDS, context=self._context)
        return self._own.connection
