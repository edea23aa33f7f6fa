"""The objects of OCSF that an event can fill. Pure; each is empty where nothing is known of it."""

from typing import Any

from forwarder.formats.gist import addresses, context_of, host_of
from forwarder.model import AffectedObject, Event

Fields = dict[str, Any]


def named(name: str | None, uid: str | None) -> Fields:
    """Return `name` and `uid`, each if there is one."""
    return {key: text for key, text in (("name", name), ("uid", uid)) if text}


def user_of(one: AffectedObject | None) -> Fields:
    """Return a user or a group; OCSF wants one to have a name."""
    return named(one.name, one.id) if one else {"name": "unknown"}


def actor_of(event: Event) -> Fields:
    """Return who did it."""
    user = named(event.actor.name, event.actor.id) if event.actor else {}
    if user and (full_name := context_of(event).actor_name):
        user["full_name"] = full_name
    return {"user": user} if user else {}


def endpoint_of(event: Event) -> Fields:
    """Return where the request came from, proxies behind it."""
    found = addresses(event.address)
    if not found:
        return {"name": event.address} if event.address else {}
    endpoint: Fields = {"ip": found[0]}
    if found[1:]:
        endpoint["intermediate_ips"] = list(found[1:])
    return endpoint


def device_of(event: Event) -> Fields:
    """Return the Bitbucket node."""
    host = host_of(event.system)
    if not host and not event.node:
        return {}
    device: Fields = {"type_id": 1, "type": "Server"}
    if host:
        device["hostname"] = host
    if event.node:
        device["uid"] = event.node
    return device


def resources_of(event: Event) -> list[Fields]:
    """Return what it was done to."""
    return [
        {**known, "type": one.type} if one.type else known
        for one in event.objects
        if (known := named(one.name, one.id))
    ]
