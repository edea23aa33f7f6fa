"""What AWS's own linter says of the CloudFormation template; it knows every resource's schema."""

import subprocess
import sys
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "deploy/cloudwatch/template.yaml"


@pytest.mark.real
def test_cfn_lint_has_nothing_to_say() -> None:
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    command = [cfn_lint, "--include-checks", "I", "--", TEMPLATE]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stdout + ended.stderr
