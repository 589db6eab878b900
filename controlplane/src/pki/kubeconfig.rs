//! The kubeconfig file that lets stock clients in: server, authority and client certificate, all embedded.

use super::Pair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Names of cluster and context in the file.
const NAME: &str = "coracle";

/// A complete kubeconfig. The texts are URLs, user names and base64, none of which needs quoting in YAML.
#[must_use]
pub fn render(server_url: &str, ca_pem: &str, user: &str, pair: &Pair) -> String {
    let ca = STANDARD.encode(ca_pem);
    let certificate = STANDARD.encode(&pair.certificate_pem);
    let key = STANDARD.encode(&pair.key_pem);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: {NAME}
  cluster:
    server: {server_url}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {NAME}
  context:
    cluster: {NAME}
    user: {user}
current-context: {NAME}
"
    )
}
