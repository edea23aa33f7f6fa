# Alarms on what soteri-forwarder writes to CloudWatch Logs: what "soteri-forwarder provision
# cloudwatch" makes. The detections are in detections.tf.json.

locals {
  detections = { for name, each in local.shipped : name => each if !contains(var.without, name) }
  log_group  = var.make_log_group ? aws_cloudwatch_log_group.audit[0].name : var.log_group_name
  topic_arn  = var.topic_arn == null ? aws_sns_topic.alerts[0].arn : var.topic_arn
}

resource "aws_cloudwatch_log_group" "audit" {
  count = var.make_log_group ? 1 : 0

  name              = var.log_group_name
  retention_in_days = var.retention_in_days
  kms_key_id        = var.kms_key_arn
  skip_destroy      = true
  tags              = var.tags
}

resource "aws_sns_topic" "alerts" {
  count = var.topic_arn == null ? 1 : 0

  name = var.prefix
  tags = var.tags
}

resource "aws_sns_topic_subscription" "email" {
  for_each = var.topic_arn == null ? var.emails : toset([])

  topic_arn = aws_sns_topic.alerts[0].arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_log_metric_filter" "detection" {
  for_each = local.detections

  name           = "${var.prefix}-${each.value.name}"
  log_group_name = local.log_group
  pattern        = each.value.pattern

  metric_transformation {
    namespace = var.prefix
    name      = each.key
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "detection" {
  for_each = local.detections

  alarm_name          = "${var.prefix}-${each.value.name}"
  alarm_description   = each.value.description
  actions_enabled     = true
  alarm_actions       = [local.topic_arn]
  ok_actions          = each.value.tells_its_end ? [local.topic_arn] : []
  namespace           = var.prefix
  metric_name         = each.key
  statistic           = "Sum"
  period              = each.value.period
  evaluation_periods  = each.value.evaluation_periods
  datapoints_to_alarm = each.value.datapoints_to_alarm
  threshold           = each.value.threshold
  comparison_operator = each.value.comparison_operator
  treat_missing_data  = each.value.treat_missing_data
  tags                = var.tags
}
