"""The remote model's key in the system's keyring: asked after the environment and before a file."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lite.backends.remote_config import RemoteConfig
from lite.errors import MissingExtra, UsageError

CONFIG = RemoteConfig(url="https://models.example:8443/v1", keyring="lite")
KEY = "sk-from-the-keyring"


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtra, match=r"keyring needs the extra 'keyring': pip install"):
        CONFIG.read_key()


class TestWithAKeyring:
    @pytest.fixture(autouse=True)
    def passwords(self) -> Iterator[dict[tuple[str, str], str]]:
        """What the system's keyring holds, in memory."""
        keyring = pytest.importorskip("keyring", reason="the extra keyring")
        from keyring.backend import KeyringBackend

        held: dict[tuple[str, str], str] = {("lite", "models.example:8443"): KEY}

        class InMemory(KeyringBackend):
            priority = 1

            def get_password(self, service: str, username: str) -> str | None:
                return held.get((service, username))

            def set_password(self, service: str, username: str, password: str) -> None:
                held[service, username] = password

        before = keyring.get_keyring()
        keyring.set_keyring(InMemory())
        yield held
        keyring.set_keyring(before)

    def test_the_key_is_that_of_the_service_and_the_host(self) -> None:
        assert CONFIG.read_key().reveal() == KEY
        assert KEY not in repr(CONFIG)

    def test_the_environment_comes_before_it_and_the_file_after(
        self, passwords: dict[tuple[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "key"
        path.write_text("sk-from-the-file")
        path.chmod(0o600)
        config = replace(CONFIG, key_env="MY_KEY", key_file=str(path))
        assert config.read_key().reveal() == KEY
        passwords.clear()
        assert config.read_key().reveal() == "sk-from-the-file"
        monkeypatch.setenv("MY_KEY", "sk-from-the-environment")
        assert config.read_key().reveal() == "sk-from-the-environment"

    def test_no_key_anywhere_names_every_place(self, passwords: dict[tuple[str, str], str]) -> None:
        passwords.clear()
        with pytest.raises(UsageError, match=r"variable MY_KEY or the keyring's service lite should .*models.example"):
            replace(CONFIG, key_env="MY_KEY").read_key()

    def test_a_key_with_odd_characters_is_refused_and_not_shown(self, passwords: dict[tuple[str, str], str]) -> None:
        passwords["lite", "models.example:8443"] = "sk secret"
        with pytest.raises(UsageError, match="service lite holds characters") as told:
            CONFIG.read_key()
        assert "secret" not in str(told.value)

    def test_a_machine_without_a_keyring_is_told(self) -> None:
        import keyring
        from keyring.backends.fail import Keyring

        keyring.set_keyring(Keyring())
        with pytest.raises(UsageError, match=r"keyring cannot be asked \(NoKeyringError\)"):
            CONFIG.read_key()

    def test_a_key_is_not_sent_unencrypted(self) -> None:
        with pytest.raises(UsageError, match="unencrypted"):
            replace(CONFIG, url="http://models.example/v1").read_key()
