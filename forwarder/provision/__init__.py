"""What alerts people is made at the destination: by a plan that is shown first, again and again.

`plan` says what is to be done and does it; splunk and cloudwatch each plan one destination.
"""
