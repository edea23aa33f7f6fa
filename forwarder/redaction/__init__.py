"""What an event must not tell: credentials, and what users name. Pure.

`credentials` knows what credentials look like, `fields` where in an event something stands, and
`redactor` goes over an event and its original.
"""

from forwarder.redaction.fields import field as field
from forwarder.redaction.redactor import Redactor as Redactor
from forwarder.redaction.redactor import digest as digest
from forwarder.redaction.redactor import mask as mask
