//! The columns of `additionalPrinterColumns`, and their cells.

use super::json_path::Path;
use crate::time::{self, Timestamp};
use crate::{Tree, kinds};
use serde_json::json;

/// One column of a custom resource's table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub value_type: String,
    pub format: String,
    pub description: String,
    /// 0: always; more: only with `-o wide`.
    pub priority: i64,
    pub path: Path,
}

// === impl Column ===

impl Column {
    /// Reads one of `additionalPrinterColumns`. `None` if its path is none.
    #[must_use]
    pub fn read(tree: &Tree) -> Option<Column> {
        let text = |key: &str| tree.get(key).and_then(Tree::as_str).unwrap_or_default();
        let described = match text("description") {
            "" => format!("Custom resource definition column (in JSONPath format): {}", text("jsonPath")),
            told => told.to_owned(),
        };
        Some(Column {
            name: text("name").to_owned(),
            value_type: text("type").to_owned(),
            format: text("format").to_owned(),
            description: described,
            priority: tree.get("priority").and_then(Tree::as_i64).unwrap_or(0),
            path: Path::parse(text("jsonPath")).ok()?,
        })
    }

    /// The age that the table of a kind without columns shows.
    #[must_use]
    pub fn age() -> Column {
        Column {
            name: "Age".to_owned(),
            value_type: "date".to_owned(),
            format: String::new(),
            description: "CreationTimestamp is a timestamp representing the server time when this object was created. \
                          It is not guaranteed to be set in happens-before order across separate operations. Clients \
                          may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by \
                          the system. Read-only. Null for lists. More info: \
                          https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
                .to_owned(),
            priority: 0,
            path: Path::parse(".metadata.creationTimestamp").expect("a path"),
        }
    }

    /// What the table says about it.
    #[must_use]
    pub fn definition(&self) -> Tree {
        json!({
            "name": self.name, "type": self.value_type, "format": self.format, "description": self.description,
            "priority": self.priority,
        })
    }

    /// What an object has here; null where it has nothing of the column's type. `age` says how long ago a time was.
    #[must_use]
    pub fn cell(&self, object: &Tree, age: &dyn Fn(Timestamp) -> String) -> Tree {
        let found = self.path.find(object);
        let Some(first) = found.first() else { return Tree::Null };
        match self.value_type.as_str() {
            "string" => printed(&found),
            "integer" => first.as_i64().map_or(Tree::Null, Tree::from),
            "number" => first.as_f64().filter(|_| first.is_number()).map_or(Tree::Null, |_| (*first).clone()),
            "boolean" => first.as_bool().map_or(Tree::Null, Tree::from),
            "date" => match first.as_str() {
                Some(text) => time::parse(text).map_or("<invalid>".into(), |then| age(then).into()),
                None => "<unknown>".into(),
            },
            _ => Tree::Null,
        }
    }
}

/// Several values are printed as a list; strings bare, everything else as JSON.
fn printed(found: &[&Tree]) -> Tree {
    let one = |value: &Tree| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match found {
        [Tree::Null] => Tree::Null,
        [only] => one(only).into(),
        all => Tree::String(all.iter().map(|value| one(value)).collect::<Vec<_>>().join(" ")),
    }
}

/// The first column of every table.
#[must_use]
pub fn name_column() -> Tree {
    let description = "Name must be unique within a namespace. Is required when creating resources, although some \
                       resources may allow a client to request the generation of an appropriate name automatically. \
                       Name is primarily intended for creation idempotence and configuration definition. Cannot be \
                       updated. More info: \
                       https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
    let name = kinds::Column { name: "Name", value_type: "string", format: "name", priority: 0 };
    json!({
        "name": name.name, "type": name.value_type, "format": name.format, "description": description,
        "priority": name.priority,
    })
}
