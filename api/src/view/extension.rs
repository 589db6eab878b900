//! What extends the API from outside: where a webhook is (`clientConfig`), and `apiregistration.k8s.io/v1.APIService`.

use super::meta::{Condition, Meta};
use serde::Deserialize;

/// Where a webhook is: at a URL, or behind a Service.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConfig {
    pub url: Option<String>,
    pub service: Option<ServiceReference>,
    /// PEM in base64. Empty: what the host trusts.
    pub ca_bundle: String,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ServiceReference {
    pub namespace: String,
    pub name: String,
    /// Only of webhooks.
    pub path: String,
    pub port: Option<u16>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ApiService {
    pub metadata: Meta,
    pub spec: ApiServiceSpec,
    pub status: ApiServiceStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiServiceSpec {
    /// `None`: this server serves the version itself.
    pub service: Option<ServiceReference>,
    pub group: String,
    pub version: String,
    #[serde(rename = "insecureSkipTLSVerify")]
    pub insecure_skip_tls_verify: bool,
    pub ca_bundle: Option<String>,
    pub group_priority_minimum: i32,
    pub version_priority: i32,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ApiServiceStatus {
    pub conditions: Vec<Condition>,
}

// === impl ClientConfig ===

impl ClientConfig {
    /// The URL that it is called at, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        match (&self.url, &self.service) {
            (Some(url), _) => url.clone(),
            (None, Some(service)) => {
                format!("https://{}:{}/{}", service.host(), service.port(), service.path.trim_start_matches('/'))
            }
            (None, None) => String::new(),
        }
    }
}

// === impl ServiceReference ===

impl ServiceReference {
    /// A webhook or an extension API server is at 443 unless it says otherwise.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(443)
    }

    /// The name that its certificate is for.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

// === impl ApiService ===

impl ApiService {
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.status.conditions.iter().any(|one| one.kind == "Available" && one.status == "True")
    }
}
