"""Every kind is put into a class of each schema on purpose."""

import pytest

from forwarder.formats.meaning import Meaning, meaning
from tests.fakes.kinds import KINDS


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "soteri.unknown"])
def test_every_kind_of_the_catalogue_means_something(kind):
    area, verb = meaning(kind)
    assert area != "other"
    assert verb != "done"


def test_what_nobody_knows_means_nothing():
    assert meaning("soteri.unknown") == Meaning("other", "done")
    assert meaning("bitbucket.unnamed") == Meaning("other", "done")
    assert meaning("") == Meaning("other", "done")


@pytest.mark.parametrize(
    ("kind", "area", "verb"),
    [
        ("hook.skipped", "hook", "skipped"),
        ("hook.mode_changed", "config", "changed"),
        ("access.granted", "permission", "granted"),
        ("finding.unreviewed", "finding", "unreviewed"),
        ("scan.files_skipped", "scan", "skipped"),
        ("bitbucket.soteri_switched_off", "app", "disabled"),
        ("bitbucket.repository_accessed_by_user", "content", "read"),
        ("bitbucket.user_added_to_user_group", "group", "added"),
        ("bitbucket.user_deleted", "user", "deleted"),
        ("bitbucket.user_login_failed", "authentication", "failed"),
        ("bitbucket.user_logged_in", "authentication", "succeeded"),
        ("bitbucket.user_logout", "authentication", "ended"),
        ("bitbucket.audit_log_configuration_updated", "audit", "changed"),
        ("bitbucket.repository_change_requested", "content", "requested"),
        ("rule.of_my_own_created", "rule", "created"),
        ("mine.branch_deleted", "content", "deleted"),
    ],
)
def test_a_kind_is_read_word_by_word(kind, area, verb):
    assert meaning(kind) == Meaning(area, verb)
