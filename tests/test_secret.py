"""What is masked of text that others wrote."""

from __future__ import annotations

import pytest

from raytuner.errors import without_secrets
from raytuner.folders import RemoteFolder

# Each hides HIDDEN, or parts of it.
HIDDEN = "qwe rty"
TEXTS = {
    "user": ("at s3://key:qwerty@bucket/x", "at s3://***@bucket/x"),
    "both": ("s3://k/qwe@rty:qwe/rty@bucket/x y", "s3://***@bucket/x y"),
    "mark in the user part": ("s3://key:qwe?rty@bucket/x", "s3://***"),
    "fragment in the user part": ("s3://key:qwe#rty@bucket/x", "s3://***"),
    "query": ("https://h.com/x?a=1&sig=qwerty&b=2", "https://h.com/x?***"),
    "fragment": ("https://h/x#access_token=qwerty", "https://h/x#***"),
    "in quotes": ("'s3://k:qwerty@b/x', 3", "'s3://***@b/x', 3"),
    "fsspec": ("fsspec+sftp://me:qwerty@host:22/x", "fsspec+sftp://***@host:22/x"),
    "Azure": ("x;AccountKey=qwerty==;EndpointSuffix=y", "x;AccountKey=***"),
    "SAS": ("failed with sig=qwerty and more", "failed with sig=*** and more"),
    "SharedAccessKey": ("SharedAccessKey=qwerty", "SharedAccessKey=***"),
    "signature without its URI": ("X-Amz-Signature=qwerty", "X-Amz-Signature=***"),
    "credential": ("X-Amz-Credential=qwerty", "X-Amz-Credential=***"),
    "ODBC": ("Server=x;Uid=me;Pwd=qwerty;", "Server=x;Uid=me;Pwd=***"),
    "bearer": ("header Bearer qwerty.x-y_z was refused", "header Bearer *** was refused"),
    "token with bearer": ("token: Bearer qwerty", "token: ***"),
    "authorization": ("{'Authorization': 'Basic qwe rty'}", "{'Authorization': ***"),
    "cookie": ("Set-Cookie: qwe=rty; Path=/", "Set-Cookie: ***"),
    "quoted": ("password='qwe rty' for x", "password=*** for x"),
    "JSON": ('{"db_password": "qwe rty", "n": 3}', '{"db_password": ***, "n": 3}'),
    "option": ("run --db-password qwerty --n 3", "run --db-password *** --n 3"),
    "equals": ("run --api-key=qwerty --n 3", "run --api-key=*** --n 3"),
    "passphrase": ("PASSPHRASE: qwerty", "PASSPHRASE: ***"),
}


@pytest.mark.parametrize(("text", "masked"), TEXTS.values(), ids=TEXTS)
def test_what_is_masked(text: str, masked: str) -> None:
    found = without_secrets(text, {})
    assert found == masked
    assert all(part not in found for part in HIDDEN.split())


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'lr'",
        "expected 3 arguments, see https://docs.ray.io/en/latest/x.html",
        "s3://bucket/runs/first",
        "max_tokens=512, tokenizer: bert, design=3, path=/a/b",
        "the working directory is PWD:/home/me",
    ],
)
def test_what_is_not(text: str) -> None:
    assert without_secrets(text, {}) == text


@pytest.mark.parametrize(
    "name",
    [
        *("GITHUB_PAT", "PGPASSWORD", "MYSQL_PWD", "SSHPASS", "AZURE_STORAGE_KEY"),
        *("AZURE_SAS", "NPM_AUTH", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"),
    ],
)
def test_variables_that_hold_secrets(name: str) -> None:
    secret = "wJal/rX@Utn+FE"
    assert without_secrets(f"refused: {secret}!", {name: secret}) == "refused: ***!"
    assert without_secrets("in a URI: wJal%2FrX%40Utn%2BFE", {name: secret}) == "in a URI: ***"


def test_the_password_in_the_uri_of_a_variable() -> None:
    environment = {"DATABASE_URL": "postgresql://me:hunter22@db/x", "SITE": "http://[::1/x"}
    assert without_secrets("bad password hunter22", environment) == "bad password ***"


@pytest.mark.parametrize("name", ["PWD", "MAX_TOKENS", "KEYBOARD", "COMPATIBLE"])
def test_variables_that_hold_none(name: str) -> None:
    assert without_secrets("at /home/me/runs", {name: "/home/me"}) == "at /home/me/runs"


def test_a_folder_shows_neither_user_nor_query() -> None:
    folder = RemoteFolder("s3://key:qwe/d@en@bucket/x?access_key=a&secret_key=qwerty")
    assert str(folder / "first") == "s3://***@bucket/x/first?***"
    assert "qwe" not in repr(folder)
