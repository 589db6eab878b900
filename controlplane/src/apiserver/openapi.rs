//! The OpenAPI documents, made from the field table: v2 as a whole, v3 for each group and version.
//!
//! Pure functions of the served kinds. A document is made when it is first asked for and kept compressed, since
//! nearly every client asks for gzip; the texts it is made from are not kept.

mod describe;
mod gnostic;
mod paths;
mod schema;

use crate::registry::Served;
use api::Kind;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, OnceLock};

/// The media type of the protobuf form, which kubectl up to 1.26 reads.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The documents of one set of served kinds; made anew when the set changes.
pub struct OpenApi {
    served: Arc<Served>,
    v2: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
    /// By path below `/openapi/v3/`.
    v3: BTreeMap<String, Versioned>,
}

/// A document, compressed.
#[derive(Debug, Clone)]
pub struct Document {
    pub content_type: &'static str,
    pub gzip: Bytes,
    /// Quoted, as in the header.
    pub etag: String,
}

/// The document of one group's version, with the hash of the kinds that it is made of. Where those stay the same, the
/// document does.
type Versioned = (String, Arc<OnceLock<Document>>);

/// Which OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

// === impl OpenApi ===

impl OpenApi {
    pub fn new(served: Arc<Served>) -> OpenApi {
        let mut seeds: BTreeMap<String, Sha512> = BTreeMap::new();
        for kind in &served.kinds {
            let seed =
                seeds.entry(group_path(kind)).or_insert_with(|| Sha512::new_with_prefix(env!("CARGO_PKG_VERSION")));
            seed.update(format!("{kind:?}"));
        }
        let v3 = seeds.into_iter().map(|(path, seed)| (path, (hex::encode_upper(seed.finalize()), Arc::default())));
        OpenApi { served, v2: OnceLock::new(), v2_protobuf: OnceLock::new(), v3: v3.collect() }
    }

    /// Whether these are the documents of what is served.
    pub fn is_of(&self, served: &Arc<Served>) -> bool {
        Arc::ptr_eq(&self.served, served)
    }

    /// The documents of another set of kinds; those of groups that are as they were are taken over.
    #[must_use]
    pub fn again(&self, served: Arc<Served>) -> OpenApi {
        let mut again = OpenApi::new(served);
        for (path, (hash, document)) in &mut again.v3 {
            if let Some((_, known)) = self.v3.get(path).filter(|(known, _)| known == hash) {
                *document = Arc::clone(known);
            }
        }
        again
    }

    /// `/openapi/v2` as JSON.
    pub fn v2(&self) -> &Document {
        self.v2.get_or_init(|| Document::new("application/json", self.swagger().to_string().as_bytes()))
    }

    /// `/openapi/v2` as gnostic's protobuf.
    pub fn v2_protobuf(&self) -> &Document {
        self.v2_protobuf.get_or_init(|| Document::new(PROTOBUF, &gnostic::encode(&self.swagger())))
    }

    /// `/openapi/v3`: where the documents are, with the hash that makes each URL immutable.
    pub fn v3_index(&self) -> Value {
        let entry = |(path, (hash, _)): (&String, &Versioned)| {
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path.clone(), json!({"serverRelativeURL": url}))
        };
        json!({"paths": self.v3.iter().map(entry).collect::<Map<_, _>>()})
    }

    /// `/openapi/v3/PATH` (`api/v1`, `apis/apps/v1`) with its hash; `None` if nothing is served there.
    pub fn v3(&self, path: &str) -> Option<(&str, &Document)> {
        let (hash, document) = self.v3.get(path)?;
        let make = || {
            let made = Document::new("application/json", self.spec(path).to_string().as_bytes());
            Document { etag: format!("\"{hash}\""), ..made }
        };
        Some((hash, document.get_or_init(make)))
    }

    fn swagger(&self) -> Value {
        let paths: Map<String, Value> =
            self.served.kinds.iter().flat_map(|kind| paths::of(kind, Dialect::V2)).collect();
        let definitions = schema::definitions(&self.served.kinds, &self.served.kinds, Dialect::V2);
        json!({
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": "v1.36.0"},
            "paths": paths,
            "definitions": definitions,
            "securityDefinitions": {"BearerToken": {
                "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
            }},
            "security": [{"BearerToken": []}],
        })
    }

    fn spec(&self, path: &str) -> Value {
        let own: Vec<Arc<Kind>> = self.served.kinds.iter().filter(|kind| group_path(kind) == path).cloned().collect();
        let paths: Map<String, Value> = own.iter().flat_map(|kind| paths::of(kind, Dialect::V3)).collect();
        let schemas = schema::definitions(&own, &self.served.kinds, Dialect::V3);
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.36.0"},
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"BearerToken": {
                    "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header",
                }},
            },
        })
    }
}

// === impl Document ===

impl Document {
    fn new(content_type: &'static str, body: &[u8]) -> Document {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(body).expect("memory takes all bytes");
        let gzip = Bytes::from(gzip.finish().expect("memory takes all bytes"));
        Document { content_type, gzip, etag: format!("\"{}\"", hex::encode_upper(Sha512::digest(body))) }
    }

    /// The bytes for a client that does not accept gzip.
    #[must_use]
    pub fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        GzDecoder::new(&*self.gzip).read_to_end(&mut plain).expect("we compressed it ourselves");
        plain
    }
}

// === impl Dialect ===

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Dialect::V2 => format!("#/definitions/{name}").into(),
            Dialect::V3 => format!("#/components/schemas/{name}").into(),
        }
    }
}

fn group_path(kind: &Kind) -> String {
    let (root, group_version) = (if kind.group().is_empty() { "api" } else { "apis" }, kind.api_version());
    format!("{root}/{group_version}")
}

#[cfg(test)]
mod tests;
