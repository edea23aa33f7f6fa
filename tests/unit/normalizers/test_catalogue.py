"""Events are recognised however they are worded, and none is called what it may not be."""

import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import AffectedObject, Attribute, Change
from forwarder.normalizers.catalogue import shipped
from tests.fakes.normalized import normalize
from tests.fakes.records import record

USER = "bitbucket.service.user.audit.action."
TOKENS = "bitbucket.access.tokens.audit.action."
REPOSITORY = "bitbucket.service.repository.audit.action."

# How each might be worded: only the first text is public, all others are ours.
SOTERIS = [
    ("hook.skipped", "Security hook skipped", "Hook bypassed", "Skipped the Soteri security hook"),
    ("hook.blocked", "Push blocked by security hook", "Security hook rejected 2 commits"),
    ("hook.warned", "Security hook warned about push", "Commits with warnings from the hook"),
    (
        "hook.mode_changed",
        "Global hook mode changed",
        "Hook mode set to warn",
        "Mode of hook edited",
    ),
    (
        "hook.status_changed",
        "Global hook status updated",
        "Global hook disabled",
        "Hook turned off",
    ),
    ("hook.settings_changed", "Global hook settings changed", "Hook status and mode changed"),
    (
        "rule.builtin_toggled",
        "Built-in rule toggled",
        "Builtin rule disabled",
        "Rule (built in) enabled",
    ),
    ("rule.custom_created", "Custom rule created", "Added a custom rule"),
    ("rule.custom_deleted", "Custom rule deleted", "Removed custom rule"),
    ("rule.custom_changed", "Custom rule changed", "Custom rule modified", "Edited custom rules"),
    ("rule.custom_toggled", "Custom rule toggled", "Custom rule disabled"),
    (
        "config.repository_settings_toggled",
        "Per-repository settings toggled",
        "Repository settings enabled",
    ),
    (
        "config.repository_changed",
        "soteri-security.yml changed",
        "Changes to soteri-security.yml on main",
    ),
    ("config.global_changed", "Global settings changed", "Updated global configuration"),
    ("access.granted", "Access granted to global settings", "User added to global settings"),
    ("access.revoked", "Access to global settings revoked", "Group removed from global settings"),
    ("access.changed", "Global settings access changed", "Permissions updated"),
    ("finding.reviewed", "Finding marked as reviewed", "Findings reviewed"),
    ("finding.unreviewed", "Finding unmarked as reviewed", "Finding marked as unreviewed"),
    ("allowlist.added", "Global false positive added", "Globally reviewed false positive created"),
    ("allowlist.removed", "Global false positive deleted", "Globally reviewed text removed"),
    ("scan.started", "Manual scan started", "Repository scanned manually", "Branch scan triggered"),
    ("scan.files_skipped", "Files skipped in hook scan", "Skipped 3 files", "Scan: file skipped"),
]
WORDED = [(kind, text) for kind, *texts in SOTERIS for text in texts]


def kind_of(action: str, key: str = "", **changes: object) -> str:
    changes = {"changes": (), "attributes": (), **changes}
    return normalize(record(action=action, action_key=key, **changes), source="b").kind


def test_there_is_a_wording_for_every_kind_of_soteris():
    others = ("bitbucket.", "forwarder.", "correlation.")
    soteris = {name for name in shipped() if not name.startswith(others)}
    assert {kind for kind, *_ in SOTERIS} == soteris - {"soteri.unknown"}


@pytest.mark.parametrize(("kind", "text"), WORDED)
def test_every_documented_event_is_recognised_in_several_wordings(kind, text):
    assert kind_of(text) == kind


@given(
    wording=st.sampled_from(WORDED),
    upper=st.booleans(),
    between=st.text(" \t\n-:_/.,", min_size=1, max_size=3),
    around=st.text(" \t\n!?:.", max_size=3),
)
def test_case_spaces_and_punctuation_say_nothing(wording, upper, between, around):
    kind, text = wording
    text = around + between.join(re.split(r"\W+", text.upper() if upper else text)) + around
    assert kind_of(text) == kind


@given(
    wording=st.sampled_from(WORDED),
    prefix=st.sampled_from(["com.example.audit.action.", "a.b.action.", "x.y.audit.action."]),
    style=st.sampled_from(["joined", "camel", "dots"]),
)
def test_an_action_in_another_language_is_recognised_by_its_key(wording, prefix, style):
    kind, text = wording
    words = re.findall(r"[A-Za-z]+", text)
    tail = {
        "joined": "".join(words).lower(),
        "camel": words[0].lower() + "".join(word.title() for word in words[1:]),
        "dots": ".".join(words).lower(),
    }[style]
    # A key has no words of less than four letters that would tell: it may name less, nothing else.
    assert kind_of("フックがスキップされました", prefix + tail) in {kind, "soteri.unknown"}


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("com.example.soteri.audit.action.hookSkipped", "hook.skipped"),
        ("soteri.audit.action.rule.custom.created", "rule.custom_created"),
        ("soteri.finding.marked-reviewed", "finding.reviewed"),
        (
            "soteri.hook.audit.changed",
            "soteri.unknown",
        ),  # its beginning is no part of what happened
        ("", "soteri.unknown"),
    ],
)
def test_only_the_tail_of_a_key_says_what_happened(key, kind):
    assert kind_of("監査", key) == kind


@pytest.mark.parametrize(
    "action",
    [
        "Security hook not skipped",
        "Hook mode change failed",
        "Attempted to disable global hook",
        "Custom rule deletion requested",
        "Hook warned and blocked",
        "Security hook unskipped",
        "Rule toggled",  # which one?
        "Custom rule created and deleted",
        "Hook",
        "Scan completed",
        "License updated",
        "Repository security settings changed",
    ],
)
def test_what_did_not_happen_or_can_be_read_two_ways_is_unknown(action):
    assert kind_of(action) == "soteri.unknown"


def test_text_and_key_that_contradict_each_other_name_nothing():
    assert kind_of("Security hook warned about push", "a.action.hookblocked") == "soteri.unknown"


def test_a_text_that_says_it_failed_is_not_overruled_by_its_key():
    assert kind_of("Hook mode change failed", "a.action.hookmodechanged") == "soteri.unknown"


def test_the_text_that_is_public_decides_whatever_the_key_says():
    assert kind_of("Security hook skipped", "a.action.custom.rule.created") == "hook.skipped"


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        (["Hook mode"], "hook.mode_changed"),
        (["Enabled"], "hook.status_changed"),
        (["Status", "Mode"], "hook.settings_changed"),
        (["Colour"], "hook.settings_changed"),
        ([], "hook.settings_changed"),
    ],
)
def test_what_changed_tells_apart_what_the_action_does_not(changed, kind):
    changes = tuple(Change(key=name, from_="a", to="b") for name in changed)
    assert kind_of("Global hook settings changed", changes=changes) == kind


def test_a_changed_file_is_known_by_its_name_among_the_changes():
    changes = (Change(key="soteri-security.yml", from_="a", to="b"),)
    found = kind_of("Repository security settings changed", changes=changes)
    assert found == "config.repository_changed"


# Texts from Atlassian's "Audit log events" and SigmaHQ's rules, keys from events of Bitbucket 7.18.
@pytest.mark.parametrize(
    ("action", "key", "kind"),
    [
        ("Plugin disabled", "", "bitbucket.app_disabled"),
        ("Plugin enabled", "", "bitbucket.app_enabled"),
        ("Plugin uninstalled", "", "bitbucket.app_uninstalled"),
        ("Plugin upgraded", "", "bitbucket.app_upgraded"),
        ("Plugin module disabled", "", "bitbucket.app_module_disabled"),
        ("Plugin module enabled", "", "bitbucket.plugin_module_enabled"),
        ("Audit log configuration updated", "", "bitbucket.audit_configuration_changed"),
        (
            "",
            "atlassian.audit.event.action.audit.config.updated",
            "bitbucket.audit_configuration_changed",
        ),
        (
            "Audit Log search performed",
            "atlassian.audit.event.action.audit.search",
            "bitbucket.audit_searched",
        ),
        ("Global permission granted", "", "bitbucket.global_permission_granted"),
        ("Global permission removed", "", "bitbucket.global_permission_revoked"),
        ("Global permission remove request", "", "bitbucket.global_permission_remove_request"),
        ("", f"{USER}projectpermissiongranted", "bitbucket.project_permission_granted"),
        ("", f"{USER}repositorypermissionrevoked", "bitbucket.repository_permission_revoked"),
        ("x", f"{USER}repositorypermissionrevocationrequested", "bitbucket.x"),
        ("", f"{TOKENS}accesstokencreated.personal", "bitbucket.access_token_created"),
        ("", f"{TOKENS}accesstokenmodified.repository", "bitbucket.access_token_changed"),
        ("Personal access token deleted", "", "bitbucket.access_token_deleted"),
        ("HTTP access token created", "", "bitbucket.access_token_created"),
        ("", "bitbucket.ssh.audit.action.sshkeycreated", "bitbucket.ssh_key_added"),
        (
            "",
            "bitbucket.ssh.audit.action.sshaccesskeyrevoked.repository",
            "bitbucket.ssh_key_deleted",
        ),
        ("Repository hook disabled", "", "bitbucket.hook_disabled"),
        ("Global secret scanning rule deleted", "", "bitbucket.secret_scanning_rule_deleted"),
        (
            "Project secret scanning allowlist rule added",
            "",
            "bitbucket.secret_scanning_allowlist_added",
        ),
        (
            "Secret scanning exempt repository added",
            "",
            "bitbucket.secret_scanning_exemption_added",
        ),
        (
            "Repository change requested",
            f"{REPOSITORY}repositorymodificationrequested",
            "bitbucket.repository_change_requested",
        ),
        ("Repository accessed by user", "", "bitbucket.repository_accessed_by_user"),
        ("Project created", "", "bitbucket.project_created"),
    ],
)
def test_bitbuckets_own_events_around_soteri_are_recognised(action, key, kind):
    assert kind_of(action, key, category="Some category", category_key="some.key") == kind


@pytest.mark.parametrize("action", ["Plugin disabled", "Plugin uninstalled"])
def test_soteri_itself_switched_off_is_critical(action):
    event = normalize(
        record(
            category="Apps",
            action=action,
            objects=(AffectedObject(type="PLUGIN", name="Soteri Security for Bitbucket"),),
        ),
        source="b",
    )
    assert (event.kind, event.severity) == ("bitbucket.soteri_switched_off", "critical")


# Marks in the wrong order, with nothing or with what becomes a mark between them.
@pytest.mark.parametrize("part", ["\u0315\u0300", "\u0315\uff9e", "\ufdfa", "soter ", " "])
def test_a_long_text_is_looked_through_in_a_time_that_grows_with_it_alone(part):
    text = part * (200_000 // len(part.encode()))
    attributes = (Attribute(name="Plugin name", value=f"{text}Soteri"),)
    began = time.thread_time()
    kind_of("App disabled", category="Apps", attributes=attributes)
    assert time.thread_time() - began < 2.0


def test_letters_that_are_written_with_marks_beside_them_are_the_same_letters():
    attributes = (Attribute(name="Plugin name", value="e\u0301 \uff33oteri\u00a0for\u3000x"),)
    found = kind_of("App disabled", category="Apps", attributes=attributes)
    assert found == "bitbucket.soteri_switched_off"


def test_an_app_that_is_told_by_an_attribute_counts_as_well():
    attributes = (Attribute(name="Plugin key", value="com.example.soteri-security"),)
    found = kind_of("Plugin disabled", category="Apps", attributes=attributes)
    assert found == "bitbucket.soteri_switched_off"


@pytest.mark.parametrize(
    "category", ["SOTERI security FOR Bitbucket", " Soteri Security for Bitbucket "]
)
def test_the_category_may_be_written_otherwise(category):
    assert kind_of("Security hook skipped", category=category) == "hook.skipped"


def test_a_translated_category_is_known_by_its_key():
    found = kind_of(
        "Security hook skipped", category="セキュリティ", category_key="com.example.soteri.category"
    )
    assert found == "hook.skipped"


def test_every_kind_says_why_it_matters():
    for kind in shipped().values():
        assert kind.title, kind.kind
        assert kind.why.endswith("."), kind.kind
        assert set(kind.kind) <= set(string.ascii_lowercase + "_."), kind.kind
        assert all(re.fullmatch(r"T\d{4}(\.\d{3})?", each) for each in kind.techniques), kind.kind
        assert kind.rules or kind.kind == "soteri.unknown", kind.kind
        if not kind.kind.startswith(("bitbucket.", "forwarder.", "correlation.")) and kind.rules:
            assert kind.since, kind.kind
