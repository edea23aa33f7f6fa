output "topic_arn" {
  description = "What the alarms tell."
  value       = local.topic_arn
}
