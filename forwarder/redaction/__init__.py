"""What an event must not tell: credentials, and what users name. Pure.

`credentials` knows what credentials look like, `glance` which of many texts may hold one, `fields`
where in an event something stands, and `redactor` goes over events and their originals.
"""

from forwarder.redaction.fields import field as field
from forwarder.redaction.redactor import Redactor as Redactor
from forwarder.redaction.redactor import digest as digest
from forwarder.redaction.redactor import mask as mask
