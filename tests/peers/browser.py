"""A real Chromium, driven by chromedriver over WebDriver's HTTP (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import http.client
import json
from pathlib import Path
from typing import Any

from tests.needs import path_of
from tests.port import free_port
from tests.running import PATIENCE_S, Running

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that WebDriver gives an element under
ENTER = "\ue007"
TAB = "\ue004"
#: Nothing but this machine has a name or an address for the browser; it also asks for no update of its own.
NO_NAMES = "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
ALONE = ("--no-first-run", "--disable-background-networking")


class Browser:
    """One session. ``scripts``: whether pages may run any; ``dark``: what the person prefers; ``names``: the rules by
    which it finds hosts.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scripts: bool = True,
        dark: bool = False,
        size: str = "1200,1600",
        names: str = NO_NAMES,
    ) -> None:
        # Of 0 it takes what the kernel gives for one address, and ends where another has that port on the other one.
        self._driver = Running([path_of("chromedriver"), f"--port={free_port()}"], env={"HOME": str(folder)})
        self._port = int(self._driver.line(r"started successfully on port (\d+)").rstrip(".").rpartition(" ")[2])
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *ALONE]
        arguments += [f"--host-resolver-rules={names}"]
        arguments += [f"--user-data-dir={folder}/profile", f"--window-size={size}"]
        arguments += ["--force-dark-mode"] * dark
        options: dict[str, Any] = {"args": arguments, "binary": path_of("chromium")}
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"}}
        self._session = ""
        self._session = self._ask("POST", "/session", capabilities={"alwaysMatch": wanted})["sessionId"]

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2 * PATIENCE_S)
        under = f"/session/{self._session}" if self._session else ""
        connection.request(method, under + path, json.dumps(body) if method == "POST" else None)
        value = json.loads(connection.getresponse().read())["value"]
        connection.close()
        assert not (isinstance(value, dict) and "error" in value), value
        return value

    def open(self, address: str) -> None:
        """Load a page, until its load event."""
        self._ask("POST", "/url", url=address)

    def run(self, script: str, *arguments: object) -> Any:
        """Return the result of a script, which neither the page's policy nor a switch for the page's scripts stops."""
        return self._ask("POST", "/execute/sync", script=script, args=arguments)

    def elements(self, selector: str) -> list[str]:
        """The elements that a CSS selector finds."""
        found = self._ask("POST", "/elements", using="css selector", value=selector)
        return [one[ELEMENT] for one in found]

    def text(self, selector: str) -> str:
        """The visible text of the first element."""
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def name(self, element: str) -> str:
        """The accessible name, as a screen reader says it."""
        return str(self._ask("GET", f"/element/{element}/computedlabel"))

    def role(self, element: str) -> str:
        """The role, as a screen reader says it."""
        return str(self._ask("GET", f"/element/{element}/computedrole"))

    def press(self, keys: str) -> None:
        """Type on the keyboard, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def picture_of(self, element: str) -> str:
        """What the window shows where an element is, as base64."""
        return str(self._ask("GET", f"/element/{element}/screenshot"))

    def focused(self) -> str:
        """The element that has the focus."""
        return str(self._ask("GET", "/element/active")[ELEMENT])

    def requests(self) -> list[str]:
        """The addresses of all requests since the last call."""
        events = (json.loads(one["message"])["message"] for one in self._ask("POST", "/se/log", type="performance"))
        return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """What the console has said since the last call: violations of the policy, errors of scripts."""
        return [one["message"] for one in self._ask("POST", "/se/log", type="browser")]

    def picture(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.__exit__(None, None, None)
