"""Bitbucket's own events: texts and keys as in real events of Bitbucket 7.18. Pure."""

from typing import Final

from forwarder.simulator.events.scene import Json, Scene, Template, legacy

AUDITING_CATEGORY: Final = "Auditing"
SEARCH_PERFORMED: Final = "Audit Log search performed"

_SERVICE: Final = "bitbucket.service."


def _bitbucket(area: str, category: str, key: str, action: str) -> Json:
    return {
        "categoryI18nKey": f"bitbucket.service.audit.category.{area}",
        "category": category,
        "actionI18nKey": f"{_SERVICE}{key}",
        "action": action,
    }


def _accessed(scene: Scene) -> Json:
    return scene.event(
        kind=_bitbucket(
            "repositories",
            "Repositories",
            "repository.audit.action.repositoryaccessed",
            "Repository accessed by user",
        ),
        attributes=legacy(scene),
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
        attributes=legacy(scene, {"old.project": scene.project.key, "new.project": "AT"}),
    )


def _deleted_user(scene: Scene) -> Json:
    return scene.event(
        kind=_bitbucket(
            "usersandgroups", "Users and groups", "user.audit.action.userdeleted", "User deleted"
        ),
        objects=[{"name": f"former.{scene.other.name}", "type": "USER"}],  # no id any more
        attributes=legacy(scene),
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
        attributes=legacy(scene, {"entities": [scene.other.name], "membership": "GROUP_USER"}),
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
        attributes=legacy(scene, {"username": "bitbucket"}),
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
