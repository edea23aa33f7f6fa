"""Soteri's events, as far as they are known, and invented beyond that. Pure.

Known for certain is one text: the action "Security hook skipped" (and the category "Soteri
Security for Bitbucket"). Every other action text below is INVENTED after the vendor's prose
(docs/bitbucket.md section 6) and marked by an `actionI18nKey` that begins with
`invented.simulator.`. Nothing may be concluded from them about what a real Soteri writes.
"""

from typing import Final

from forwarder.simulator.events.scene import (
    INVENTED,
    UNKNOWN_KEY,
    Json,
    Scene,
    Template,
    attribute,
    legacy,
)

SOTERI_CATEGORY: Final = "Soteri Security for Bitbucket"
HOOK_SKIPPED: Final = "Security hook skipped"

_RULES: Final = (
    "AWS access key",
    "Private key block",
    "Generic API token",
    "Slack webhook",
    "JWT",
    "Database URL with password",
)
_FILES: Final = (
    "src/main/resources/application.yml",
    "deploy/values.yaml",
    "scripts/migrate.sh",
    "config/settings.py",
    "README.md",
    ".env.sample",
    "src/test/java/com/example/payments/fixtures/CredentialsFixture.java",
)
_BRANCHES: Final = ("main", "master", "develop", "release/2026.1", "feature/PAY-1412-idempotency")


def _soteri(action: str) -> Json:
    """Return the type of a Soteri event; only `HOOK_SKIPPED` is a text known from the vendor."""
    prefix = UNKNOWN_KEY if action == HOOK_SKIPPED else INVENTED
    return {
        "categoryI18nKey": f"{UNKNOWN_KEY}category.soteri",
        "category": SOTERI_CATEGORY,
        "actionI18nKey": f"{prefix}action.{action.replace(' ', '').lower()}",
        "action": action,
    }


def hook_skipped(scene: Scene) -> Json:
    """Return the one Soteri event whose action text is public."""
    commit = scene.commit()
    return scene.event(
        kind=_soteri(HOOK_SKIPPED),
        attributes=[
            *legacy(scene, {"commit": commit, "reason": "skip-soteri-security-check"}),
            attribute("Branch", f"refs/heads/{scene.random.choice(_BRANCHES)}"),
            attribute(
                "Commit message", "Hotfix for the till\r\n\r\n**skip-soteri-security-check**\n"
            ),
        ],
    )


def _push(action: str) -> Template:
    def template(scene: Scene) -> Json:
        commits = [scene.commit() for _ in range(scene.random.randint(1, 2))]
        finding = {
            "rule": scene.random.choice(_RULES),
            "file": scene.random.choice(_FILES),
            "line": scene.random.randint(1, 900),
        }
        return scene.event(
            kind=_soteri(action),
            attributes=[
                *legacy(scene, {"commits": commits, "findings": [finding]}),
                attribute("Branch", f"refs/heads/{scene.random.choice(_BRANCHES)}"),
            ],
        )

    return template


def _review(action: str) -> Template:
    def template(scene: Scene) -> Json:
        # What matched is part of such an event (docs/bitbucket.md section 6): an obvious fake here.
        matched = f"EXAMPLE-NOT-A-SECRET-{scene.random.getrandbits(48):012x}"
        return scene.event(
            kind=_soteri(action),
            attributes=[
                *legacy(scene),
                attribute("File", scene.random.choice(_FILES)),
                attribute("Matched text", matched),
                attribute("Rule", scene.random.choice(_RULES)),
            ],
        )

    return template


def _settings(action: str, name: str, before: str | None, after: str | None) -> Template:
    def template(scene: Scene) -> Json:
        change: Json = {"key": name, "i18nKey": f"{INVENTED}change.{name.replace(' ', '')}"}
        if before is not None:
            change["from"] = before
        if after is not None:
            change["to"] = after
        return scene.event(
            kind=_soteri(action),
            objects=[],
            changes=[change],
            attributes=[
                attribute("Rule", scene.random.choice(_RULES)),
                attribute(
                    "Scope", {"level": "global", "by": scene.person.name, "v": scene.commit()}
                ),
            ],
        )

    return template


def _files_skipped(scene: Scene) -> Json:
    # A handful of files; now and then many, so that sizes differ as they do in life.
    count = scene.random.choice((1, 2, 3, 5, 21))
    reasons = ("binary file", "larger than 5 MiB", "excluded by soteri-security.yml")
    skipped = [
        {"path": scene.random.choice(_FILES), "reason": scene.random.choice(reasons)}
        for _ in range(count)
    ]
    return scene.event(
        kind=_soteri("Files skipped in scan"),
        attributes=[*legacy(scene, {"files": skipped}), attribute("Scan", "hook")],
    )


def _manual_scan(scene: Scene) -> Json:
    return scene.event(
        kind=_soteri("Manual scan started"),
        attributes=[
            *legacy(scene, {"scope": scene.random.choice(("branch", "repository", "project"))}),
            attribute("Branch", scene.random.choice(_BRANCHES)),
            attribute("Commit", scene.commit()),
        ],
    )


def _file_changed(scene: Scene) -> Json:
    return scene.event(
        kind=_soteri("Repository security settings changed"),
        changes=[
            {
                "key": "soteri-security.yml",
                "i18nKey": f"{INVENTED}change.soteri-security.yml",
                "from": "rules:\n  - name: in-house token\n    enabled: true\n",
                "to": "rules:\n  - name: in-house token\n    enabled: false\n",
            }
        ],
        attributes=[*legacy(scene), attribute("Commit", scene.commit())],
    )


# Each template with its weight among its own.
SOTERI: Final[tuple[tuple[Template, int], ...]] = (
    (hook_skipped, 30),
    (_push("Security hook blocked push"), 20),
    (_push("Security hook warned about push"), 14),
    (_review("Finding marked as reviewed"), 9),
    (_review("Finding unmarked as reviewed"), 3),
    (_manual_scan, 8),
    (_files_skipped, 4),
    (_file_changed, 4),
    (_settings("Global hook mode changed", "Hook mode", "warn", "block"), 2),
    (_settings("Built-in rule toggled", "Enabled", "true", "false"), 2),
    (_settings("Custom rule created", "Pattern", None, "acme-[0-9a-f]{32}"), 2),
    (_settings("Global false positive added", "False positive", None, "EXAMPLE-KEY"), 2),
)
