"""What the events say: shaped like real ones of Bitbucket 7.18, texts partly invented. Pure.

Known for certain is one text of Soteri's: the action "Security hook skipped" (and the category
"Soteri Security for Bitbucket"). Every other Soteri action text below is INVENTED after the
vendor's prose (BITBUCKET.md section 6) and marked by an `actionI18nKey` that begins with
`invented.simulator.`; a key that is made up for a known text begins with `unknown.simulator.`.
Nothing may be concluded from them about what a real Soteri writes.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from forwarder.simulator.catalogue import Catalogue, Person, Project, Repository

Json = dict[str, Any]

SOTERI_CATEGORY: Final = "Soteri Security for Bitbucket"
HOOK_SKIPPED: Final = "Security hook skipped"
AUDITING_CATEGORY: Final = "Auditing"
SEARCH_PERFORMED: Final = "Audit Log search performed"

_INVENTED: Final = "invented.simulator."
_UNKNOWN_KEY: Final = "unknown.simulator."
_SERVICE: Final = "bitbucket.service."
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


class Scene:
    """One event in the making: the dice, and who does what to which repository."""

    def __init__(self, random: Random, catalogue: Catalogue, host: str) -> None:
        self.random = random
        self.host = host
        self.person: Person = random.choice(catalogue.people)
        self.other: Person = random.choice(catalogue.people)
        self.project: Project = random.choice(catalogue.projects)
        self.repository: Repository | None = (
            random.choice(self.project.repositories) if self.project.repositories else None
        )
        self.node: str = random.choice(catalogue.nodes)
        self.address: str = random.choice(catalogue.addresses)

    @property
    def target(self) -> str:
        """``KEY/slug``, or the key alone."""
        return f"{self.project.key}/{self.repository.slug}" if self.repository else self.project.key

    def commit(self) -> str:
        """Return a commit hash."""
        return f"{self.random.getrandbits(160):040x}"

    def user(self, person: Person) -> Json:
        """Return an author."""
        return {
            "name": person.name,
            "type": "NORMAL",
            "id": str(person.id),
            "uri": f"{self.host}/users/{person.name}",
            "avatarUri": "",
        }

    def objects(self) -> list[Json]:
        """Return the project and its repository, as the first affected objects."""
        key = self.project.key
        found: list[Json] = [
            {
                "name": key,
                "type": "PROJECT",
                "uri": f"{self.host}/projects/{key}",
                "id": str(self.project.id),
            }
        ]
        if self.repository:
            slug = self.repository.slug
            found.append(
                {
                    "name": slug,
                    "type": "REPOSITORY",
                    "uri": f"{self.host}/projects/{key}/repos/{slug}/browse",
                    "id": str(self.repository.id),
                }
            )
        return found

    def event(
        self,
        *,
        kind: Json,
        objects: list[Json] | None = None,
        changes: list[Json] | None = None,
        attributes: list[Json] | None = None,
    ) -> Json:
        """Return the event without its timestamp, attributes sorted by name as REST sorts them."""
        return {
            "author": self.user(self.person),
            "type": kind,
            "affectedObjects": self.objects() if objects is None else objects,
            "changedValues": changes or [],
            "source": self.address,
            "system": self.host,
            "node": self.node,
            "method": "Browser",
            "extraAttributes": sorted(attributes or [], key=lambda one: one["name"]),
        }


Template = Callable[[Scene], Json]


def _attribute(name: str, value: object, *, key: str | None = None) -> Json:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return {
        "nameI18nKey": key or f"{_INVENTED}attribute.{name.replace(' ', '').lower()}",
        "name": name,
        "value": text,
    }


def _legacy(scene: Scene, details: object | None = None) -> list[Json]:
    found = [
        _attribute("target", scene.target, key="bitbucket.audit.attribute.legacy.target"),
    ]
    if details is not None:
        found.append(_attribute("details", details, key="bitbucket.audit.attribute.legacy.details"))
    return found


def _soteri(action: str) -> Json:
    """Return the type of a Soteri event; only `HOOK_SKIPPED` is a text known from the vendor."""
    prefix = _UNKNOWN_KEY if action == HOOK_SKIPPED else _INVENTED
    return {
        "categoryI18nKey": f"{_UNKNOWN_KEY}category.soteri",
        "category": SOTERI_CATEGORY,
        "actionI18nKey": f"{prefix}action.{action.replace(' ', '').lower()}",
        "action": action,
    }


def _bitbucket(area: str, category: str, key: str, action: str) -> Json:
    return {
        "categoryI18nKey": f"bitbucket.service.audit.category.{area}",
        "category": category,
        "actionI18nKey": f"{_SERVICE}{key}",
        "action": action,
    }


def hook_skipped(scene: Scene) -> Json:
    """Return the one Soteri event whose action text is public."""
    commit = scene.commit()
    return scene.event(
        kind=_soteri(HOOK_SKIPPED),
        attributes=[
            *_legacy(scene, {"commit": commit, "reason": "skip-soteri-security-check"}),
            _attribute("Branch", f"refs/heads/{scene.random.choice(_BRANCHES)}"),
            _attribute("Commit", commit),
            _attribute(
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
                *_legacy(scene, {"commits": commits, "findings": [finding]}),
                _attribute("Branch", f"refs/heads/{scene.random.choice(_BRANCHES)}"),
            ],
        )

    return template


def _review(action: str) -> Template:
    def template(scene: Scene) -> Json:
        # What matched is part of such an event (BITBUCKET.md section 6): an obvious fake here.
        matched = f"EXAMPLE-NOT-A-SECRET-{scene.random.getrandbits(48):012x}"
        return scene.event(
            kind=_soteri(action),
            attributes=[
                *_legacy(scene),
                _attribute("File", scene.random.choice(_FILES)),
                _attribute("Matched text", matched),
                _attribute("Rule", scene.random.choice(_RULES)),
            ],
        )

    return template


def _settings(action: str, name: str, before: str | None, after: str | None) -> Template:
    def template(scene: Scene) -> Json:
        change: Json = {"key": name, "i18nKey": f"{_INVENTED}change.{name.replace(' ', '')}"}
        if before is not None:
            change["from"] = before
        if after is not None:
            change["to"] = after
        return scene.event(
            kind=_soteri(action),
            objects=[],
            changes=[change],
            attributes=[
                _attribute("Rule", scene.random.choice(_RULES)),
                _attribute(
                    "Scope", {"level": "global", "by": scene.person.name, "v": scene.commit()}
                ),
            ],
        )

    return template


def _files_skipped(scene: Scene) -> Json:
    # A handful of files; now and then many, so that sizes differ as they do in life.
    count = scene.random.choice((2, 3, 5, 8, 40))
    reasons = ("binary file", "larger than 5 MiB", "excluded by soteri-security.yml")
    skipped = [
        {"path": scene.random.choice(_FILES), "reason": scene.random.choice(reasons)}
        for _ in range(count)
    ]
    return scene.event(
        kind=_soteri("Files skipped in scan"),
        attributes=[*_legacy(scene, {"files": skipped}), _attribute("Scan", "hook")],
    )


def _manual_scan(scene: Scene) -> Json:
    return scene.event(
        kind=_soteri("Manual scan started"),
        attributes=[
            *_legacy(scene, {"scope": scene.random.choice(("branch", "repository", "project"))}),
            _attribute("Branch", scene.random.choice(_BRANCHES)),
            _attribute("Commit", scene.commit()),
        ],
    )


def _file_changed(scene: Scene) -> Json:
    return scene.event(
        kind=_soteri("Repository security settings changed"),
        changes=[
            {
                "key": "soteri-security.yml",
                "i18nKey": f"{_INVENTED}change.soteri-security.yml",
                "from": "rules:\n  - name: in-house token\n    enabled: true\n",
                "to": "rules:\n  - name: in-house token\n    enabled: false\n",
            }
        ],
        attributes=[*_legacy(scene), _attribute("Commit", scene.commit())],
    )


def _accessed(scene: Scene) -> Json:
    return scene.event(
        kind=_bitbucket(
            "repositories",
            "Repositories",
            "repository.audit.action.repositoryaccessed",
            "Repository accessed by user",
        ),
        attributes=_legacy(scene),
    )


def _requested(scene: Scene) -> Json:
    return scene.event(
        kind=_bitbucket(
            "repositories",
            "Repositories",
            "repository.audit.action.repositorymodificationrequested",
            "Repository change requested",
        ),
        changes=[
            {
                "key": "Project",
                "i18nKey": f"{_SERVICE}repository.audit.changedvalue"
                ".repositorymodification.project",
                "from": scene.project.key,
                "to": "AT",
            }
        ],
        attributes=_legacy(scene, {"old.project": scene.project.key, "new.project": "AT"}),
    )


def _deleted_user(scene: Scene) -> Json:
    return scene.event(
        kind=_bitbucket(
            "usersandgroups", "Users and groups", "user.audit.action.userdeleted", "User deleted"
        ),
        objects=[{"name": f"former.{scene.other.name}", "type": "USER"}],  # no id any more
        attributes=_legacy(scene),
    )


def _joined_group(scene: Scene) -> Json:
    group = {
        "name": "developers",
        "type": "GROUP",
        "uri": f"{scene.host}/admin/groups/view?name=developers",
        "id": "developers",
    }
    member = {"name": scene.other.name, "type": "USER", "id": str(scene.other.id)}
    return scene.event(
        kind=_bitbucket(
            "usersandgroups",
            "Users and groups",
            "user.audit.action.groupmembershipscreated.user",
            "User added to user group",
        ),
        objects=[group, member],
        attributes=_legacy(scene, {"entities": [scene.other.name], "membership": "GROUP_USER"}),
    )


def _by_system(scene: Scene) -> Json:
    event = scene.event(
        kind={
            "categoryI18nKey": "bitbucket.service.audit.category.globaladministration",
            "category": "Global administration",
            "actionI18nKey": "bitbucket.search.audit.action.elasticsearchconfigurationchange",
            "action": "Elasticsearch settings changed",
        },
        objects=[],
        changes=[
            {
                "key": "Username",
                "i18nKey": "bitbucket.search.audit.changedvalue"
                ".elasticsearchconfigurationchange.username",
                "to": "bitbucket",
            }
        ],
        attributes=_legacy(scene, {"username": "bitbucket"}),
    )
    event["author"] = {"name": "System", "type": "system", "id": "-1", "avatarUri": ""}
    event["method"] = "System"
    del event["source"], event["system"]  # System has neither
    return event


def _anonymous(scene: Scene) -> Json:
    event = _accessed(scene)
    event["author"] = {"name": "Anonymous", "type": "user", "id": "-2", "avatarUri": ""}
    event["source"] = f"{scene.address},10.0.0.1"  # several addresses behind a proxy
    return event


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
BITBUCKET: Final[tuple[tuple[Template, int], ...]] = (
    (_accessed, 50),
    (_anonymous, 6),
    (_requested, 10),
    (_joined_group, 16),
    (_deleted_user, 8),
    (_by_system, 10),
)


def search_performed(
    *, author: Json, address: str, host: str, node: str, attributes: dict[str, str]
) -> Json:
    """Return the audit row that reading a page writes; `attributes` by their last key part."""
    names = {
        "id": "ID Range",
        "query": "Query",
        "results": "Results returned",
        "timestamp": "Timestamp Range",
    }
    return {
        "author": author,
        "type": {
            "categoryI18nKey": "atlassian.audit.event.category.audit",
            "category": AUDITING_CATEGORY,
            "actionI18nKey": "atlassian.audit.event.action.audit.search",
            "action": SEARCH_PERFORMED,
        },
        "affectedObjects": [],
        "changedValues": [],
        "source": address,
        "system": host,
        "node": node,
        "method": "Browser",
        "extraAttributes": [
            {
                "nameI18nKey": f"atlassian.audit.event.attribute.{key}",
                "name": names[key],
                "value": value,
            }
            for key, value in attributes.items()
        ],
    }
