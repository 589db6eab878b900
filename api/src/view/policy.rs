//! PodDisruptionBudget and ResourceQuota, as their controllers read them.

use super::meta::{Condition, LabelSelector, Meta};
use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct DisruptionBudget {
    pub metadata: Meta,
    pub spec: DisruptionBudgetSpec,
    pub status: DisruptionBudgetStatus,
}

/// Each of the two is a number, or a percentage as a string; at most one is given.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionBudgetSpec {
    pub min_available: Option<Value>,
    pub max_unavailable: Option<Value>,
    /// `None` selects nothing, an empty one all pods of the namespace.
    pub selector: Option<LabelSelector>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionBudgetStatus {
    pub observed_generation: i64,
    /// Pods whose eviction was allowed and that are not gone yet, and since when.
    pub disrupted_pods: BTreeMap<String, Timestamp>,
    pub disruptions_allowed: i32,
    pub current_healthy: i32,
    pub desired_healthy: i32,
    pub expected_pods: i32,
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ResourceQuota {
    pub metadata: Meta,
    pub spec: QuotaSpec,
    pub status: QuotaStatus,
}

/// Values of `hard` and `used` are quantities.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaSpec {
    pub hard: BTreeMap<String, String>,
    pub scopes: Vec<String>,
    pub scope_selector: Option<ScopeSelector>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeSelector {
    pub match_expressions: Vec<QuotaScope>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaScope {
    pub scope_name: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: String,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct QuotaStatus {
    pub hard: BTreeMap<String, String>,
    pub used: BTreeMap<String, String>,
}
