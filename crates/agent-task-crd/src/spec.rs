//! What a person writes.

// The derived schema has a copy of the struct inside of a function, and a column is an attribute.
#![allow(unreachable_pub, clippy::duplicated_attributes)]

use crate::resources::{Amount, Resources};
use crate::status::AgentTaskStatus;
use crate::tools::AllowedTools;
use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One variable or argument of a process has at most 128 KiB; half of it is a lot of prose.
pub const PROMPT_MAX: usize = 64 * 1024;

/// A run takes a day at most.
pub const TIMEOUT_MAX: u32 = 86_400;

/// A task for an agent: what it shall do, when, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "agents.kyle.pericak.com",
    version = "v1alpha1",
    kind = "AgentTask",
    plural = "agenttasks",
    shortname = "at",
    namespaced,
    status = "AgentTaskStatus",
    derive = "PartialEq",
    doc = "A task for an agent: what it shall do, when, and with what.",
    printcolumn(name = "Agent", type_ = "string", json_path = ".spec.agent"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Pull request", type_ = "string", json_path = ".status.pullRequest"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Last run", type_ = "date", json_path = ".status.lastRunTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.run", priority = 1),
    printcolumn(name = "Stage", type_ = "string", json_path = ".status.stage", priority = 1),
    printcolumn(name = "Cost", type_ = "number", json_path = ".status.costUsd", priority = 1),
    printcolumn(name = "Turns", type_ = "integer", json_path = ".status.turns", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[x_kube(
    validation = Rule::new("self.trigger != 'scheduled' || (has(self.schedule) && self.schedule != '')")
        .message("a scheduled task needs a schedule, as '0 8 * * *'").field_path(".schedule"),
    validation = Rule::new("self.trigger == 'scheduled' || !has(self.schedule) || self.schedule == ''")
        .message("a schedule needs trigger: scheduled").field_path(".trigger"),
    validation = Rule::new("self.trigger == oldSelf.trigger")
        .message("is fixed: make another task").field_path(".trigger"),
    validation = Rule::new("self.trigger == 'scheduled' || self.agent == oldSelf.agent")
        .message("is fixed, because the task runs once: make another task").field_path(".agent"),
    validation = Rule::new("self.trigger == 'scheduled' || self.prompt == oldSelf.prompt")
        .message("is fixed, because the task runs once: make another task").field_path(".prompt"),
    validation = Rule::new("self.trigger == 'scheduled' || self.readOnly == oldSelf.readOnly")
        .message("is fixed, because the task runs once: make another task").field_path(".readOnly"),
)]
pub struct AgentTaskSpec {
    /// The agent, as the repository's `.claude/agents` defines it.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub agent: String,
    /// The agent CLI.
    #[serde(default)]
    pub runtime: Runtime,
    /// What the agent shall do. At most 64 KiB.
    #[schemars(length(min = 1, max = PROMPT_MAX))]
    #[x_kube(
        validation = Rule::new("bytes(self).size() <= 65536").message("is longer than 64 KiB"),
        validation = Rule::new("!self.matches('^\\\\s*$')").message("is blank"),
        validation = Rule::new("!self.contains('\\u0000')").message("has a NUL in it"),
    )]
    pub prompt: String,
    /// When it runs, as cron writes it: `0 8 * * *`. With trigger `scheduled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 100),
        regex(
            pattern = r"^$|^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$|^[^\s=]+(\s+[^\s=]+){4}$"
        )
    )]
    pub schedule: Option<String>,
    /// What sets it off.
    #[serde(default)]
    pub trigger: Trigger,
    /// The run only reads: nothing of it is kept or pushed.
    #[serde(default)]
    pub read_only: bool,
    /// The branch that the run begins at [default: the base].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "branch")]
    pub branch: Option<String>,
    /// The tools that the agent may use: a list of patterns, or patterns with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_tools: Option<AllowedTools>,

    /// The repository on GitHub, as owner/name [default: the cluster's].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 140), regex(pattern = r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$"))]
    pub repository: Option<String>,
    /// The branch that the pull request goes to [default: the cluster's, else main].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "branch")]
    pub base: Option<String>,
    /// The model [default: the agent's own].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]*$"))]
    pub model: Option<String>,
    /// The agent's turns, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_turns: Option<u32>,
    /// What the run may cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 100_000.0))]
    // For a whole number the server takes the whole part of the minimum, 0.
    #[x_kube(validation = Rule::new("self >= 0.01").message("must be from 0.01 to 100000"))]
    pub max_budget_usd: Option<f64>,
    /// How long the pod may take [default: the cluster's, else 1800]. The agent's own limit is a little below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = TIMEOUT_MAX))]
    pub timeout_seconds: Option<u32>,
    /// The time zone of the schedule, as `America/Toronto` [default: Etc/UTC].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z][A-Za-z0-9_+/-]*$"))]
    pub time_zone: Option<String>,
    /// No run begins while this is set.
    #[serde(default)]
    pub suspend: bool,
    /// What the agent's container asks for and may use, beside the cluster's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// MCP servers beside the agent's presets: an overlay for `mcp-config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "overlay")]
    pub mcp_servers: Option<serde_json::Map<String, serde_json::Value>>,
    /// The volume that the run works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// The RuntimeClass of the pod, as `gvisor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub runtime_class_name: Option<String>,
    /// The PriorityClass of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub priority: Option<String>,
    /// The agent gets a GitHub token that can only read the repository.
    #[serde(default)]
    pub github_read: bool,
    /// Labels for the Job and its pod, as `kueue.x-k8s.io/queue-name: agents`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
}

/// An agent CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Claude Code.
    #[default]
    Claude,
    /// OpenCode.
    Opencode,
}

impl Runtime {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Opencode => "opencode",
        }
    }
}

/// What sets a task off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// A person: it runs once.
    #[default]
    Manual,
    /// Its schedule.
    Scheduled,
    /// A request to the webhook: it runs once.
    Webhook,
}

impl Trigger {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Scheduled => "scheduled",
            Self::Webhook => "webhook",
        }
    }
}

/// The volume of a run that writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workspace {
    /// Where it comes from [default: the cluster's].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Its size, as `10Gi` [default: the cluster's].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Amount>,
    /// Its storage class, in mode storageClass [default: the cluster's].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub storage_class: Option<String>,
}

/// Where a volume comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// A claim on a storage class.
    #[default]
    StorageClass,
    /// A folder of the node, below the cluster's root for it.
    HostPath,
    /// The pod's own: it goes with the pod, and a killed run's work with it.
    Ephemeral,
}

/// What git takes as a branch's name, and no more than this project needs of it.
fn branch(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "nullable": true,
        "maxLength": 200,
        "pattern": r"^$|^[A-Za-z0-9_][A-Za-z0-9_.+#@/-]*$",
        "x-kubernetes-validations": [{
            "rule": "!self.contains('..') && !self.contains('//') && !self.contains('/.') && !self.contains('@{') && !self.endsWith('/') && !self.endsWith('.') && !self.endsWith('.lock') && self != 'HEAD'",
            "message": "is no branch that git would take",
        }],
    })
}

fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "nullable": true,
        "maxLength": 253,
        "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
    })
}

fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": "^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$"},
        "x-kubernetes-validations": [{
            "rule": "self.all(name, name.size() <= 317 && !name.startsWith('agents.kyle.pericak.com/') && !name.startsWith('app.kubernetes.io/managed-by'))",
            "message": "has a name that is not free to set",
        }],
    })
}

fn overlay(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "maxProperties": 32,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}
