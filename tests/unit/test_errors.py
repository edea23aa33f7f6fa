"""What holds for every error that waits for a person."""

import ast
from pathlib import Path

import forwarder

CODE = Path(forwarder.__file__).parent


def test_every_refusal_says_what_to_do() -> None:
    mute = [
        f"{path.relative_to(CODE)}:{call.lineno}"
        for path in CODE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in {"AccessError", "StoreLocked"}
        and "remedy" not in {keyword.arg for keyword in call.keywords}
    ]
    assert mute == []
