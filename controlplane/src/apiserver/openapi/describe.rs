//! What upstream's documents say about each type and field: the texts of `kubectl explain`.

use flate2::read::GzDecoder;
use std::collections::HashMap;
use std::io::Read as _;

/// Made by `cargo xtask facts`.
static TEXTS: &[u8] = include_bytes!("../generated/descriptions.gz");

/// The texts, read for the making of one document and then dropped: they are a megabyte.
pub(super) struct Descriptions {
    texts: HashMap<String, HashMap<String, String>>,
}

impl Descriptions {
    pub(super) fn read() -> Descriptions {
        let mut all = String::new();
        GzDecoder::new(TEXTS).read_to_string(&mut all).expect("the embedded texts are valid gzip");
        let mut texts: HashMap<String, HashMap<String, String>> = HashMap::new();
        let mut definition = String::new();
        for line in all.lines() {
            let (key, text) = line.split_once('\t').unwrap_or((line, ""));
            let (key, text) = match (key, text.split_once('\t')) {
                ("T", Some((name, text))) => {
                    name.clone_into(&mut definition);
                    ("", text)
                }
                _ => (key, text),
            };
            if !text.is_empty() {
                let text = text.replace("\\n", "\n").replace("\\\\", "\\");
                texts.entry(definition.clone()).or_default().insert(key.to_owned(), text);
            }
        }
        Descriptions { texts }
    }

    /// The text of a definition (empty field) or of a field; empty if there is none.
    pub(super) fn of(&self, definition: &str, field: &str) -> &str {
        self.texts.get(definition).and_then(|texts| texts.get(field)).map_or("", String::as_str)
    }
}
