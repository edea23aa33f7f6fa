"""`provision splunk`: index, HEC token and alerts with their e-mail, at Splunk's management port.

`access` gets in, `wanted` and `alerts` say what there should be, `planner` compares that with what
is there, `token_file` keeps the token that Splunk has made.
"""
