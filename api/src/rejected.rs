//! Why the API says no, in the words and codes of Kubernetes' `metav1.Status`.
//!
//! One struct rather than one variant a reason: callers branch on `reason`, everybody else passes it on. The
//! messages are those of apimachinery's `api/errors` (1.36), because clients match them.

use crate::Resource;
use serde_json::json;
use std::fmt;

/// A refused request; turned into a Status body by the API server, and read back from one by the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejected {
    pub reason: Reason,
    /// HTTP status code. Follows from the reason except where a client or a webhook chose another.
    pub code: u16,
    pub message: String,
    pub details: Box<Details>,
}

/// `status.reason`; the names on the wire are the variants' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No reason given: a bare code.
    Unknown,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    ServerTimeout,
    Timeout,
}

/// `status.details`: machine-readable. Empty strings are left out on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// The resource (`pods`), except for `Invalid`, where it is the kind (`Pod`).
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    /// 0: none.
    pub retry_after_seconds: u32,
    /// Shown even with nothing in it, as upstream shows a refusal that has a code and no more.
    pub even_empty: bool,
    /// `metadata.continue` of the Status: how to go on, inconsistently, with a list whose state is forgotten.
    pub next: String,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, `FieldManagerConflict`, …
    pub reason: String,
    pub message: String,
    /// A field path such as `spec.containers[0].image`; empty where none applies.
    pub field: String,
}

// === impl Reason ===

impl Reason {
    const ALL: [Reason; 19] = [
        Reason::Unknown,
        Reason::BadRequest,
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotFound,
        Reason::MethodNotAllowed,
        Reason::NotAcceptable,
        Reason::AlreadyExists,
        Reason::Conflict,
        Reason::Gone,
        Reason::Expired,
        Reason::RequestEntityTooLarge,
        Reason::UnsupportedMediaType,
        Reason::Invalid,
        Reason::TooManyRequests,
        Reason::InternalError,
        Reason::ServiceUnavailable,
        Reason::ServerTimeout,
        Reason::Timeout,
    ];

    /// The HTTP status code that goes with the reason.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::Unknown | Reason::InternalError | Reason::ServerTimeout => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
        }
    }

    /// The name on the wire; empty for `Unknown`.
    #[must_use]
    pub fn name(self) -> String {
        if self == Reason::Unknown { String::new() } else { format!("{self:?}") }
    }

    fn from_name(name: &str) -> Reason {
        Reason::ALL.into_iter().find(|reason| reason.name() == name).unwrap_or(Reason::Unknown)
    }
}

// === impl Rejected ===

impl Rejected {
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Rejected {
        Rejected { reason, code: reason.code(), message: message.into(), details: Box::default() }
    }

    /// Names the object (or the collection, with an empty name) in `details`.
    #[must_use]
    pub fn about(mut self, resource: &Resource, name: &str) -> Rejected {
        self.details.group = resource.group.to_string();
        self.details.kind = resource.plural.to_string();
        self.details.name = name.to_owned();
        self
    }

    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Rejected {
        Rejected::new(Reason::BadRequest, message)
    }

    #[must_use]
    pub fn not_found(resource: &Resource, name: &str) -> Rejected {
        Rejected::new(Reason::NotFound, format!("{resource} {name:?} not found")).about(resource, name)
    }

    #[must_use]
    pub fn already_exists(resource: &Resource, name: &str) -> Rejected {
        Rejected::new(Reason::AlreadyExists, format!("{resource} {name:?} already exists")).about(resource, name)
    }

    /// `why` follows the standard words, as in "… on pods "a": the object has been modified; …".
    #[must_use]
    pub fn conflict(resource: &Resource, name: &str, why: impl fmt::Display) -> Rejected {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Rejected::new(Reason::Conflict, message).about(resource, name)
    }

    /// The conflict of a stale resourceVersion.
    #[must_use]
    pub fn modified(resource: &Resource, name: &str) -> Rejected {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Rejected::conflict(resource, name, why)
    }

    #[must_use]
    pub fn forbidden(resource: &Resource, name: &str, why: impl fmt::Display) -> Rejected {
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {name:?} is forbidden: {why}")
        };
        Rejected::new(Reason::Forbidden, message).about(resource, name)
    }

    /// A body that breaks its kind's rules. `kind` is the Kind (`Pod`), `group` its API group. What was found twice is
    /// told once, but both are among the causes.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Rejected {
        let mut told: Vec<String> = Vec::new();
        for one in causes.iter().map(Cause::told) {
            if !told.contains(&one) {
                told.push(one);
            }
        }
        let told = if told.len() == 1 { told.concat() } else { format!("[{}]", told.join(", ")) };
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut rejected = Rejected::new(Reason::Invalid, format!("{qualified} {name:?} is invalid: {told}"));
        rejected.details.name = name.to_owned();
        rejected.details.group = group.to_owned();
        rejected.details.kind = kind.to_owned();
        rejected.details.causes = causes;
        rejected
    }

    /// A refusal by a mere code, with details in which there is nothing: upstream's router knows no more of a request
    /// for which it has no route, nor does its JSON patch of an operation that does not apply.
    #[must_use]
    pub fn unroutable(reason: Reason, message: impl Into<String>) -> Rejected {
        let mut rejected = Rejected::new(reason, message);
        rejected.details.even_empty = true;
        rejected
    }

    #[must_use]
    pub fn internal(why: impl fmt::Display) -> Rejected {
        let why = why.to_string();
        let mut rejected = Rejected::new(Reason::InternalError, format!("Internal error occurred: {why}"));
        rejected.details.causes = vec![Cause { reason: String::new(), message: why, field: String::new() }];
        rejected
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }

    /// True if the asked-for history is gone and the client has to list again.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(self.reason, Reason::Expired | Reason::Gone)
    }

    /// The Status body, keys in Go's struct order.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
        });
        if self.reason != Reason::Unknown {
            status["reason"] = self.reason.name().into();
        }
        if !self.details.next.is_empty() {
            status["metadata"]["continue"] = self.details.next.as_str().into();
        }
        let details = self.details.to_json();
        if self.details.even_empty || details.as_object().is_some_and(|all| !all.is_empty()) {
            status["details"] = details;
        }
        status["code"] = self.code.into();
        status
    }

    /// Reads a Status body back; `None` if the value is no failed Status.
    #[must_use]
    pub fn from_status(status: &serde_json::Value) -> Option<Rejected> {
        if status.get("kind")?.as_str()? != "Status" || status.get("status")?.as_str()? != "Failure" {
            return None;
        }
        let text = |key: &str| status.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let reason = Reason::from_name(text("reason"));
        let code = status.get("code").and_then(serde_json::Value::as_u64);
        let code = code.and_then(|code| u16::try_from(code).ok()).unwrap_or_else(|| reason.code());
        let mut details = status.get("details").map(Details::from_json).unwrap_or_default();
        let next = status.get("metadata").and_then(|meta| meta.get("continue")).and_then(|next| next.as_str());
        next.unwrap_or_default().clone_into(&mut details.next);
        Some(Rejected { reason, code, message: text("message").to_owned(), details: Box::new(details) })
    }
}

// === impl Details ===

impl Details {
    fn to_json(&self) -> serde_json::Value {
        let mut all = serde_json::Map::new();
        for (key, value) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !value.is_empty() {
                all.insert(key.to_owned(), value.clone().into());
            }
        }
        if !self.causes.is_empty() {
            all.insert("causes".to_owned(), self.causes.iter().map(Cause::to_json).collect());
        }
        if self.retry_after_seconds > 0 {
            all.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        all.into()
    }

    fn from_json(details: &serde_json::Value) -> Details {
        let text = |value: &serde_json::Value, key: &str| {
            value.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
        };
        let cause = |value: &serde_json::Value| Cause {
            reason: text(value, "reason"),
            message: text(value, "message"),
            field: text(value, "field"),
        };
        let causes = details.get("causes").and_then(|causes| causes.as_array());
        let retry = details.get("retryAfterSeconds").and_then(serde_json::Value::as_u64).unwrap_or(0);
        Details {
            name: text(details, "name"),
            group: text(details, "group"),
            kind: text(details, "kind"),
            uid: text(details, "uid"),
            causes: causes.map(|causes| causes.iter().map(cause).collect()).unwrap_or_default(),
            retry_after_seconds: u32::try_from(retry).unwrap_or(u32::MAX),
            even_empty: details.as_object().is_some_and(serde_json::Map::is_empty),
            next: String::new(),
        }
    }
}

// === impl Cause ===

impl Cause {
    #[must_use]
    pub fn required(field: impl Into<String>, why: impl fmt::Display) -> Cause {
        let why = why.to_string();
        let message = if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Cause { reason: "FieldValueRequired".to_owned(), message, field: field.into() }
    }

    /// `value` is printed as JSON, as kube-apiserver does since it prints no more in the syntax of Go.
    #[must_use]
    pub fn invalid(field: impl Into<String>, value: &serde_json::Value, why: impl fmt::Display) -> Cause {
        let message = format!("Invalid value: {value}: {why}");
        Cause { reason: "FieldValueInvalid".to_owned(), message, field: field.into() }
    }

    #[must_use]
    pub fn forbidden(field: impl Into<String>, why: impl fmt::Display) -> Cause {
        let message = format!("Forbidden: {why}");
        Cause { reason: "FieldValueForbidden".to_owned(), message, field: field.into() }
    }

    #[must_use]
    pub fn duplicate(field: impl Into<String>, value: &serde_json::Value) -> Cause {
        let message = format!("Duplicate value: {value}");
        Cause { reason: "FieldValueDuplicate".to_owned(), message, field: field.into() }
    }

    #[must_use]
    pub fn unsupported(field: impl Into<String>, value: &serde_json::Value, supported: &[&str]) -> Cause {
        let supported: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", supported.join(", "));
        Cause { reason: "FieldValueNotSupported".to_owned(), message, field: field.into() }
    }

    fn told(&self) -> String {
        if self.field.is_empty() { self.message.clone() } else { format!("{}: {}", self.field, self.message) }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut cause = json!({});
        if !self.reason.is_empty() {
            cause["reason"] = self.reason.clone().into();
        }
        cause["message"] = self.message.clone().into();
        if !self.field.is_empty() {
            cause["field"] = self.field.clone().into();
        }
        cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{DEPLOYMENTS, PODS};

    #[test]
    fn messages_are_those_of_kubernetes() {
        assert_eq!(Rejected::not_found(&PODS, "a").message, r#"pods "a" not found"#);
        assert_eq!(Rejected::not_found(&DEPLOYMENTS, "a").message, r#"deployments.apps "a" not found"#);
        let causes = vec![Cause::required("spec.containers", "")];
        let invalid = Rejected::invalid("", "Pod", "a", causes);
        assert_eq!(invalid.message, r#"Pod "a" is invalid: spec.containers: Required value"#);
        assert_eq!(invalid.code, 422);
    }

    #[test]
    fn a_status_reads_back_as_it_was_written() {
        let causes = vec![Cause::invalid("spec.replicas", &json!(-1), "must be at least 0")];
        let mut expired = Rejected::new(Reason::Expired, "too old");
        expired.details.next = "token".to_owned();
        assert_eq!(expired.status()["metadata"]["continue"], "token");
        let all = [
            expired,
            Rejected::invalid("apps", "Deployment", "a", causes),
            Rejected::modified(&PODS, "b"),
            Rejected::internal("no"),
            Rejected::unroutable(Reason::NotFound, "no"),
        ];
        for rejected in all {
            assert_eq!(Rejected::from_status(&rejected.status()), Some(rejected));
        }
        assert_eq!(Rejected::from_status(&json!({"kind": "Pod"})), None);
    }
}
