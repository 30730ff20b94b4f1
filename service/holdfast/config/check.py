"""Checks beyond a single key: rules between keys, and addresses brought into one form. No I/O.

Every error is one line that begins with the file and line of the key it is about.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from holdfast import log
from holdfast.config.decode import suggestion
from holdfast.config.document import Node, Path, key_words
from holdfast.config.finding import Finding
from holdfast.config.schema import MAX_SOCKET_PATH, OOM_RANGE, TIMEOUT_PREFIX, TIMEOUTS, TTRPC_SUFFIX, Settings
from holdfast.errors import ConfigError, InvalidArgument

_URI_PARTS = 4
_UNIX_OR_TCP = ("debug", "web")  # sections whose address is a path or host:port


class Addresses(Struct, frozen=True):
    """Base of relative paths: the daemon's working directory."""

    cwd: str

    def path(self, path: str) -> str:
        """An absolute path; empty stays empty."""
        return path if path.startswith("/") or not path else f"{self.cwd.rstrip('/')}/{path.removeprefix('./')}"

    def socket(self, address: str) -> str:
        """``unix:///run/x.sock``, ``unix:/run/x.sock`` or ``x.sock`` as an absolute path."""
        return self.path(_without(address, "unix://", "unix:"))


def checked(settings: Settings, tree: Node, cwd: str, warnings: list[Finding]) -> Settings:
    """Return ``settings`` with absolute paths and bare addresses, if its keys fit together.

    Raises:
        ConfigError: the first rule that is broken.
    """
    rules = _Rules(settings, tree, warnings)
    rules.plugin_names()
    rules.numbers()
    rules.log_words()
    rules.tls()
    settings = _normal(settings, Addresses(cwd))
    rules = _Rules(settings, tree, warnings)
    rules.directories()
    rules.sockets()
    rules.tcp()
    return settings


def is_loopback(address: str) -> bool:
    """Whether a ``host:port`` is reachable from this machine only. Names other than localhost are not."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    import ipaddress  # late: only a TCP listener asks

    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def check_host_port(address: str) -> None:
    """Check that ``address`` can be listened on.

    Raises:
        InvalidArgument: ``address nonsense: missing port in address`` and its like (Go's words).
    """
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        raise InvalidArgument(f"address {address}: missing port in address")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise InvalidArgument(f"address {address}: too many colons in address")
    if not (port.isascii() and port.isdigit() and int(port[:6]) <= 65535):
        raise InvalidArgument(f"address {address}: invalid port")


class _Rules:
    def __init__(self, settings: Settings, tree: Node, warnings: list[Finding]) -> None:
        self._settings = settings
        self._tree = tree
        self._warnings = warnings

    def plugin_names(self) -> None:
        """Check that plugins have whole URIs everywhere but in version 1 files."""
        for key, word in (("disabled_plugins", "disabled plugin"), ("required_plugins", "required plugin")):
            for index, node in self._children((key,)):
                self._check_uri(str(node.value), word, node, (key, index))
        for name, node in self._children(("plugins",)):
            self._check_uri(str(name), "plugin key", node, ("plugins",))

    def _check_uri(self, uri: str, word: str, node: Node, path: Path) -> None:
        if not node.source.short_ids and len(uri.split(".")) < _URI_PARTS:
            words = f'invalid {word} URI "{uri}" expect io.containerd.x.vx'
            raise ConfigError(f"{node.where}: {key_words(path[:1])}: {words}")

    def numbers(self) -> None:
        """Check oom_score's range, which containerd only notices after its start, and the names of our own timeouts."""
        node = self._tree.at(("oom_score",))
        low, high = OOM_RANGE
        if node is not None and not low <= self._settings.oom_score <= high:
            words = f"expected an integer between {low} and {high}, got {self._settings.oom_score}"
            self._tell(("oom_score",), words, fatal=not node.source.lenient)
        names = [TIMEOUT_PREFIX + name for name in TIMEOUTS]
        for name in self._settings.timeouts:
            if name.startswith(TIMEOUT_PREFIX) and name not in names:
                self._tell(("timeouts", name), f"unknown timeout{suggestion(name, names)}")

    def log_words(self) -> None:
        """Check the log's level and format."""
        debug = self._settings.debug
        try:
            log.level_number(debug.level)
        except ConfigError as error:
            self._tell(("debug", "level"), f"{error}{suggestion(debug.level, log.LEVELS)}")
        if debug.format and debug.format not in log.FORMATS:
            self._tell(
                ("debug", "format"), f"unknown log format: {debug.format}{suggestion(debug.format, log.FORMATS)}"
            )

    def tls(self) -> None:
        """Check that a certificate has its key, that authorities have a certificate, and that grants have
        authorities.
        """
        grpc = self._settings.grpc
        if grpc.tcp_tls_cert and not grpc.tcp_tls_key:
            self._tell(("grpc", "tcp_tls_cert"), "open : no such file or directory: set grpc.tcp_tls_key as well")
        if grpc.tcp_tls_ca and not grpc.tcp_tls_cert:
            words = "client certificates are not requested without a certificate of our own: set grpc.tcp_tls_cert"
            self._tell(("grpc", "tcp_tls_ca"), words, fatal=not self._lenient(("grpc", "tcp_tls_ca")))
        if grpc.grants and not grpc.tcp_tls_ca:
            self._tell(("grpc", "grants"), "no client can prove its identity without grpc.tcp_tls_ca")

    def directories(self) -> None:
        """Check containerd's own three rules for root and state, and that the cgroup path stays below the
        root cgroup.
        """
        if not self._settings.root:
            self._tell(("root",), "root must be specified")
        if not self._settings.state:
            self._tell(("state",), "state must be specified")
        if self._settings.root.rstrip("/") == self._settings.state.rstrip("/"):
            self._tell(("state",), "root and state must be different paths")
        if ".." in self._settings.cgroup.path.split("/"):
            self._tell(("cgroup", "path"), f'"{self._settings.cgroup.path}" leads out of the cgroup tree')

    def sockets(self) -> None:
        """Check addresses that can be a unix socket: given, not abstract, short enough."""
        settings = self._settings
        if not settings.grpc.address:
            self._tell(("grpc", "address"), "grpc address cannot be empty: invalid argument")
        for path, address in (
            (("grpc", "address"), settings.grpc.address + ("" if settings.ttrpc.address else TTRPC_SUFFIX)),
            (("ttrpc", "address"), settings.ttrpc.address),
            (("debug", "address"), settings.debug.address),
            (("web", "address"), settings.web.address),
        ):
            if path[0] in _UNIX_OR_TCP and not address.startswith("/"):
                continue
            if path[0] not in _UNIX_OR_TCP and self._written(path).startswith("tcp:"):
                self._tell(path, f"{self._written(path)} is no unix socket; TCP is grpc.tcp_address")
            name = address.rpartition("/")[2]
            if name.startswith("@"):
                self._tell(
                    path,
                    f'"{name.removesuffix(TTRPC_SUFFIX)}": an abstract socket has no owner and no mode; give a path',
                )
            if len(address.encode()) > MAX_SOCKET_PATH:
                self._tell(path, f'"{address}": unix socket path too long (> {MAX_SOCKET_PATH})')
        if settings.ttrpc.address and settings.ttrpc.address == settings.grpc.address:
            self._tell(("ttrpc", "address"), "is grpc.address; the two need a socket each")

    def tcp(self) -> None:
        """Check addresses of TCP listeners; plaintext beyond this machine must be explicitly allowed."""
        settings = self._settings
        for path, address in (
            (("grpc", "tcp_address"), settings.grpc.tcp_address),
            (("grpc", "health_address"), settings.grpc.health_address),
            (("metrics", "address"), settings.metrics.address),
            (("debug", "address"), "" if settings.debug.address.startswith("/") else settings.debug.address),
            (("web", "address"), "" if settings.web.address.startswith("/") else settings.web.address),
        ):
            try:
                if address:
                    check_host_port(address)
            except InvalidArgument as error:
                self._tell(path, f"listen tcp: {error.message}")
        web = settings.web.address
        if web and not web.startswith("/") and not is_loopback(web):
            words = "the page has no authentication: listen on 127.0.0.1 or a unix socket, and use a tunnel"
            self._tell(("web", "address"), f"{web}: {words}")
        grpc = settings.grpc
        if grpc.tcp_address and not grpc.tcp_tls_cert and not grpc.insecure and not is_loopback(grpc.tcp_address):
            words = "plaintext beyond the loopback interface: set grpc.tcp_tls_cert, or grpc.insecure: true"
            self._tell(("grpc", "tcp_address"), f"{grpc.tcp_address}: {words}")

    def _children(self, path: Path) -> Iterator[tuple[str | int, Node]]:
        node = self._tree.at(path)
        return node.children() if node is not None else iter(())

    def _written(self, path: Path) -> str:
        node = self._tree.at(path)
        return str(node.value) if node is not None else ""

    def _lenient(self, path: Path) -> bool:
        return self._tree.nearest(path).source.lenient

    def _tell(self, path: Path, words: str, *, fatal: bool = True) -> None:
        node = self._tree.at(path)
        finding = Finding(node.where if node is not None else "", f"{key_words(path)}: {words}")
        if fatal:
            raise ConfigError(str(finding))
        self._warnings.append(finding)


def _without(address: str, *prefixes: str) -> str:
    return next((address.removeprefix(prefix) for prefix in prefixes if address.startswith(prefix)), address)


def _normal(settings: Settings, addresses: Addresses) -> Settings:
    grpc, ttrpc, debug, metrics = settings.grpc, settings.ttrpc, settings.debug, settings.metrics
    replace = msgspec.structs.replace

    def either(address: str) -> str:
        looks_unix = address.startswith(("/", "unix:"))
        return addresses.socket(address) if looks_unix else _without(address, "tcp://", "tcp:")

    return replace(
        settings,
        root=addresses.path(settings.root),
        state=addresses.path(settings.state),
        temp=addresses.path(settings.temp),
        grpc=replace(
            grpc,
            address=addresses.socket(grpc.address),
            tcp_address=_without(grpc.tcp_address, "tcp://", "tcp:"),
            health_address=_without(grpc.health_address, "tcp://", "tcp:"),
        ),
        ttrpc=replace(ttrpc, address=addresses.socket(ttrpc.address)),
        debug=replace(debug, address=either(debug.address)),
        web=replace(settings.web, address=either(settings.web.address)),
        metrics=replace(metrics, address=_without(metrics.address, "tcp://", "tcp:")),
    )
