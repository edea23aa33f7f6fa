"""Makes the CloudFormation template and the Terraform module's detections, of the verb's own words.

    python -m deploy.cloudwatch.generate

Writes template.yaml and terraform/detections.tf.json beside this file, which a test holds current.
What they make is what ``soteri-forwarder provision cloudwatch`` makes.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final, get_args

import yaml

from forwarder.detections import Detection, detections
from forwarder.provision.cloudwatch import PREFIX, alerts
from forwarder.sinks.cloudwatch_logs import RetentionDays

HERE: Final = Path(__file__).parent
TEMPLATE: Final = HERE / "template.yaml"
LOCALS: Final = HERE / "terraform" / "detections.tf.json"
COUNTED: Final = tuple(each for each in detections() if each.cloudwatch)
"""Detections that a metric filter can say."""
_HEAD: Final = "Made by deploy/cloudwatch/generate.py: change it there."


def template() -> str:
    """Return template.yaml."""
    resources = {
        "LogGroup": {
            "Type": "AWS::Logs::LogGroup",
            "Condition": "MakesLogGroup",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "LogGroupName": {"Ref": "LogGroupName"},
                "RetentionInDays": {"Ref": "RetentionInDays"},
                "KmsKeyId": _if("HasKey", {"Ref": "KmsKeyArn"}),
            },
        },
        "Topic": {
            "Type": "AWS::SNS::Topic",
            "Condition": "MakesTopic",
            "Properties": {"TopicName": {"Ref": "Prefix"}},
        },
        "Subscription": {
            "Type": "AWS::SNS::Subscription",
            "Condition": "Subscribes",
            "Properties": {
                "TopicArn": {"Ref": "Topic"},
                "Protocol": "email",
                "Endpoint": {"Ref": "Email"},
            },
        },
    }
    for detection in COUNTED:
        name = "".join(part.capitalize() for part in detection.name.split("_"))
        resources[f"{name}Filter"] = _filter(detection)
        resources[f"{name}Alarm"] = _alarm(detection)
    made = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Alarms on what soteri-forwarder writes to CloudWatch Logs.",
        "Parameters": _PARAMETERS,
        "Conditions": _CONDITIONS,
        "Resources": resources,
        "Outputs": {"TopicArn": {"Description": "What the alarms tell.", "Value": _TOPIC}},
    }
    text = yaml.dump(made, Dumper=_Plain, sort_keys=False, width=100, allow_unicode=True)
    return f"# {_HEAD}\n{text}"


def locals_() -> str:
    """Return terraform/detections.tf.json."""
    shipped = {each.name: _values(each) for each in COUNTED}
    said = {"//": _HEAD, "locals": {"shipped": shipped}}
    return json.dumps(said, indent=2, ensure_ascii=False) + "\n"


def _if(condition: str, value: Any, otherwise: Any = None) -> dict[str, Any]:  # noqa: ANN401  any part of a template
    return {"Fn::If": [condition, value, otherwise or {"Ref": "AWS::NoValue"}]}


_TOPIC: Final = _if("MakesTopic", {"Ref": "Topic"}, {"Ref": "TopicArn"})
_GROUP: Final = _if("MakesLogGroup", {"Ref": "LogGroup"}, {"Ref": "LogGroupName"})
_CONDITIONS: Final = {
    "MakesLogGroup": {"Fn::Equals": [{"Ref": "MakeLogGroup"}, "true"]},
    "HasKey": {"Fn::Not": [{"Fn::Equals": [{"Ref": "KmsKeyArn"}, ""]}]},
    "MakesTopic": {"Fn::Equals": [{"Ref": "TopicArn"}, ""]},
    "Subscribes": {
        "Fn::And": [
            {"Condition": "MakesTopic"},
            {"Fn::Not": [{"Fn::Equals": [{"Ref": "Email"}, ""]}]},
        ]
    },
}
_PARAMETERS: Final = {
    "Email": {
        "Type": "String",
        "Default": "",
        "Description": "Whom the alarms tell; AWS mails a link there that must be followed.",
    },
    "LogGroupName": {
        "Type": "String",
        "Default": "/soteri/audit",
        "Description": "The sink's log_group.",
    },
    "MakeLogGroup": {
        "Type": "String",
        "Default": "true",
        "AllowedValues": ["true", "false"],
        "Description": "false where it is there already.",
    },
    "RetentionInDays": {
        "Type": "Number",
        "Default": 365,
        "AllowedValues": list(get_args(RetentionDays)),
        "Description": "How long the log group keeps events.",
    },
    "KmsKeyArn": {
        "Type": "String",
        "Default": "",
        "Description": "Key that encrypts the log group; its policy must allow CloudWatch Logs.",
    },
    "TopicArn": {
        "Type": "String",
        "Default": "",
        "Description": "A topic of your own to tell, in place of a new one.",
    },
    "Prefix": {
        "Type": "String",
        "Default": PREFIX,
        "AllowedPattern": "[A-Za-z0-9_-]{1,64}",
        "Description": "Begins the name of all that is made.",
    },
}


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice: anchors are hard to read."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  pyyaml's signature
        return True


def _filter(detection: Detection) -> dict[str, Any]:
    said = alerts.metric_filter(detection, "${Prefix}")
    (into,) = said["metricTransformations"]
    properties = {
        "LogGroupName": _GROUP,
        "FilterName": {"Fn::Sub": said["filterName"]},
        "FilterPattern": said["filterPattern"],
        "MetricTransformations": [
            {
                "MetricNamespace": {"Ref": "Prefix"},
                "MetricName": into["metricName"],
                "MetricValue": into["metricValue"],
            }
        ],
    }
    return {"Type": "AWS::Logs::MetricFilter", "Properties": properties}


def _alarm(detection: Detection) -> dict[str, Any]:
    said = alerts.alarm(detection, "${Prefix}", _TOPIC)
    of_the_prefix = {"AlarmName": {"Fn::Sub": said["AlarmName"]}, "Namespace": {"Ref": "Prefix"}}
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": {**said, **of_the_prefix}}


def _values(detection: Detection) -> dict[str, Any]:
    """Return what main.tf puts into a filter and an alarm, by its own names."""
    counted = alerts.metric_filter(detection, PREFIX)
    said = alerts.alarm(detection, PREFIX, "topic")
    values = {
        "name": said["AlarmName"].removeprefix(f"{PREFIX}-"),
        "description": said["AlarmDescription"],
        "pattern": counted["filterPattern"],
        "period": said["Period"],
        "evaluation_periods": said["EvaluationPeriods"],
        "datapoints_to_alarm": said["DatapointsToAlarm"],
        "threshold": said["Threshold"],
        "comparison_operator": said["ComparisonOperator"],
        "treat_missing_data": said["TreatMissingData"],
        "tells_its_end": bool(said["OKActions"]),
    }
    # Terraform reads text in JSON as templates, in which these two begin a sequence.
    return {
        field: value.replace("${", "$${").replace("%{", "%%{") if isinstance(value, str) else value
        for field, value in values.items()
    }


if __name__ == "__main__":
    TEMPLATE.write_text(template(), "utf-8")
    LOCALS.write_text(locals_(), "utf-8")
    sys.stdout.write(f"{TEMPLATE} and {LOCALS} are current.\n")
