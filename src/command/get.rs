//! `coracle get`: objects as the server's own table, or as they are.

use super::{columns, kinds, namespace, print};
use crate::args::{Get, Output};
use crate::remote::{JSON, Remote};
use anyhow::{Context, Result};
use http::Method;
use serde_json::Value;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

pub(crate) async fn run(args: &Get) -> Result<()> {
    let remote = Remote::open(&args.scope.access).await?;
    let (word, names) = match args.resource.split_once('/') {
        Some((word, name)) => (word, vec![name.to_owned()]),
        None => (args.resource.as_str(), args.names.clone()),
    };
    let kind = kinds::named(&remote, word).await?;
    let namespace = namespace(&kind, &args.scope, &remote).filter(|_| !args.all_namespaces);
    let collection = kind.resource.path(namespace, None, None);
    let paths = if names.is_empty() {
        vec![format!("{collection}?labelSelector={}", escape(&args.selector))]
    } else {
        names.iter().map(|name| format!("{collection}/{}", escape(name))).collect()
    };
    let as_table = matches!(args.output, Output::Table | Output::Wide);
    let mut answers = Vec::new();
    for path in paths {
        answers.push(remote.json(Method::GET, &path, if as_table { TABLE } else { JSON }, None).await?);
    }
    let empty = || match namespace {
        Some(namespace) => format!("No resources found in {namespace} namespace."),
        None => "No resources found".to_owned(),
    };
    match args.output {
        Output::Table | Output::Wide => {
            let text = table(&answers, args.output == Output::Wide, args.all_namespaces && kind.namespaced);
            if text.is_empty() {
                eprintln!("{}", empty());
            }
            print(&text)
        }
        Output::Name => print(&names_of(&answers, &kind)),
        Output::Json => each(&answers, |answer| Ok(format!("{}\n", serde_json::to_string_pretty(answer)?))),
        Output::Yaml => each(&answers, |answer| Ok(serde_yaml::to_string(answer)?)),
    }
}

fn each(answers: &[Value], text: impl Fn(&Value) -> Result<String>) -> Result<()> {
    for answer in answers {
        print(&text(answer).context("cannot print the answer")?)?;
    }
    Ok(())
}

fn names_of(answers: &[Value], kind: &api::kinds::Kind) -> String {
    let items = answers.iter().flat_map(|answer| match answer["items"].as_array() {
        Some(items) => items.iter().collect::<Vec<_>>(),
        None => vec![answer],
    });
    let group = if kind.group().is_empty() { String::new() } else { format!(".{}", kind.group()) };
    let line =
        |item: &Value| format!("{}{group}/{}\n", kind.singular, item["metadata"]["name"].as_str().unwrap_or_default());
    items.map(line).collect()
}

/// The server's own table; empty if there is nothing to show.
fn table(answers: &[Value], wide: bool, with_namespace: bool) -> String {
    let Some(all) = answers.first().and_then(|answer| answer["columnDefinitions"].as_array()) else {
        return String::new();
    };
    let shown = |index: &usize| wide || all[*index]["priority"].as_i64().unwrap_or(0) == 0;
    let shown: Vec<usize> = (0..all.len()).filter(shown).collect();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = vec![shown.iter().map(|index| text(&all[*index]["name"]).to_uppercase()).collect::<Vec<_>>()];
    if with_namespace {
        lines[0].insert(0, "NAMESPACE".to_owned());
    }
    for row in answers.iter().filter_map(|answer| answer["rows"].as_array()).flatten() {
        let mut cells: Vec<String> = shown.iter().map(|index| text(&row["cells"][*index])).collect();
        if with_namespace {
            cells.insert(0, text(&row["object"]["metadata"]["namespace"]));
        }
        lines.push(cells);
    }
    if lines.len() == 1 {
        return String::new();
    }
    columns(&lines)
}

/// Percent-encodes what a path segment or a query value may not hold.
pub(super) fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_even_columns_and_hides_the_wide_ones() {
        let answer = json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Ready", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [{"cells": ["a-long-name", "1/1", "10.64.0.1"]}, {"cells": ["b", 7, null]}],
        });
        assert_eq!(
            table(std::slice::from_ref(&answer), false, false),
            "NAME          READY\na-long-name   1/1\nb             7\n"
        );
        assert!(table(&[answer], true, false).starts_with("NAME          READY   IP\n"));
    }

    #[test]
    fn selectors_are_escaped() {
        assert_eq!(escape("app=web,tier in (a)"), "app%3Dweb%2Ctier%20in%20%28a%29");
    }
}
