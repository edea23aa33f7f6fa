variable "emails" {
  description = "Whom the alarms tell; AWS mails a link there that must be followed."
  type        = set(string)
  default     = []
}

variable "log_group_name" {
  description = "The sink's log_group."
  type        = string
  default     = "/soteri/audit"
}

variable "make_log_group" {
  description = "false where it is there already."
  type        = bool
  default     = true
}

variable "retention_in_days" {
  description = "How long the log group keeps events."
  type        = number
  default     = 365
}

variable "kms_key_arn" {
  description = "Key that encrypts the log group; its policy must allow CloudWatch Logs."
  type        = string
  default     = null
}

variable "topic_arn" {
  description = "A topic of your own to tell, in place of a new one."
  type        = string
  default     = null
}

variable "prefix" {
  description = "Begins the name of all that is made."
  type        = string
  default     = "soteri-forwarder"
}

variable "without" {
  description = "Detections that get no alarm, by their names in detections.tf.json."
  type        = set(string)
  default     = []
}

variable "tags" {
  description = "Of all that is made."
  type        = map(string)
  default     = {}
}
