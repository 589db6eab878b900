//! `cargo xtask facts [FOLDER]`: turns Kubernetes' fact tables into the compact tables that `api` embeds.
//!
//! Knows the columns of the tables (`fields.tsv`, `packages.tsv`, `kinds.tsv`, `columns.tsv`, `swagger.json.gz`) and
//! the lines that `api/src/{fields,kinds}.rs` read; decides nothing about Kubernetes itself.

use anyhow::{Context, bail};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The Kubernetes release whose served kinds are kept.
const RELEASE: &str = "1.36";

/// The oldest release whose kubectl is served, and the versions that it asks for in its own code, without discovery.
const OLDEST: &str = "1.20";
const LEGACY: &[[&str; 2]] = &[
    ["extensions", "v1beta1"],
    ["events.k8s.io", "v1beta1"],
    ["authentication.k8s.io", "v1beta1"],
    ["authorization.k8s.io", "v1beta1"],
    ["autoscaling", "v2beta2"],
    ["batch", "v1beta1"],
    ["certificates.k8s.io", "v1beta1"],
    ["networking.k8s.io", "v1beta1"],
    ["policy", "v1beta1"],
    ["rbac.authorization.k8s.io", "v1beta1"],
    ["storage.k8s.io", "v1beta1"],
    ["apiextensions.k8s.io", "v1beta1"],
    ["discovery.k8s.io", "v1beta1"],
];

/// Writes the generated tables. The folder comes from the first argument, or from `CORACLE_FACTS`.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let folder = args.first().cloned().or_else(|| std::env::var("CORACLE_FACTS").ok());
    let folder = PathBuf::from(folder.context("no folder: pass it as argument, or set CORACLE_FACTS")?);
    let root = crate::shell::root();
    let api = root.join("api/src/generated");
    fs::create_dir_all(&api)?;
    fs::write(api.join("fields.txt"), fields(&folder)?)?;
    let (kinds, legacy) = kinds(&folder)?;
    fs::write(api.join("kinds.txt"), kinds)?;
    fs::write(api.join("legacy.txt"), legacy)?;
    fs::write(api.join("columns.txt"), columns(&folder)?)?;
    let server = root.join("controlplane/src/apiserver/generated");
    fs::create_dir_all(&server)?;
    fs::write(server.join("descriptions.gz"), descriptions(&folder)?)?;
    Ok(())
}

/// One row of a table, by column name.
type Row = BTreeMap<String, String>;

fn table(folder: &Path, name: &str) -> anyhow::Result<Vec<Row>> {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().context("the table is empty")?.split('\t').collect();
    let row = |line: &str| {
        let cells = line.split('\t').chain(std::iter::repeat(""));
        head.iter().zip(cells).map(|(key, cell)| ((*key).to_owned(), cell.to_owned())).collect()
    };
    Ok(lines.map(row).collect())
}

/// `P package group version definition-prefix`, `T type`, then a line for each field:
/// `json proto+wire value flags extras…`.
fn fields(folder: &Path) -> anyhow::Result<String> {
    let packages: BTreeMap<String, Row> =
        table(folder, "packages.tsv")?.into_iter().map(|row| (row["package"].clone(), row)).collect();
    let mut out = String::new();
    let (mut package, mut name) = (String::new(), String::new());
    for row in table(folder, "fields.tsv")? {
        if row["package"] != package {
            package.clone_from(&row["package"]);
            name.clear();
            let about = packages.get(&package).with_context(|| format!("package {package} is not in packages.tsv"))?;
            let prefix = about["protoPackage"].replacen("k8s.io.", "io.k8s.", 1);
            writeln!(out, "P\t{package}\t{}\t{}\t{prefix}", about["group"], about["version"])?;
        }
        if row["type"] != name {
            name.clone_from(&row["type"]);
            writeln!(out, "T\t{name}")?;
        }
        if !row["valueType"].is_empty() {
            out.push_str(&field(&package, &row)?);
        }
    }
    Ok(out)
}

fn field(package: &str, row: &Row) -> anyhow::Result<String> {
    let wire = match row["protoKind"].as_str() {
        "varint" => "v",
        "fixed64" => "f",
        "bytes" => "b",
        "" => "",
        other => bail!("unknown wire form {other} in {package}"),
    };
    let value = &row["valueType"];
    let value = value.strip_prefix(package).filter(|rest| rest.starts_with('.')).unwrap_or(value);
    let mut flags = String::new();
    match row["container"].as_str() {
        "list" => flags.push('l'),
        "map" => flags.push('m'),
        _ => {}
    }
    for (column, flag) in [("pointer", 'p'), ("omitempty", 'e'), ("omitzero", 'z'), ("inline", 'i'), ("optional", 'o')]
    {
        if row[column] == "y" {
            flags.push(flag);
        }
    }
    let mut line = format!("{}\t{}{wire}\t{value}\t{flags}", row["json"], row["proto"]);
    let extras = [
        ('S', "patchStrategy"),
        ('K', "patchMergeKey"),
        ('L', "listType"),
        ('k', "listMapKeys"),
        ('M', "mapType"),
        ('D', "default"),
        ('E', "enum"),
    ];
    for (letter, column) in extras {
        if !row[column].is_empty() {
            write!(line, "\t{letter}{}", row[column])?;
        }
    }
    line.push('\n');
    Ok(line)
}

/// The kinds that the release serves in a stable version, and those that kubectl 1.20 asks for in versions that are gone
/// since. The metrics that `kubectl top` reads are an add-on's there, and it says so in clear words where nobody serves
/// them.
fn kinds(folder: &Path) -> anyhow::Result<(String, String)> {
    let keep = [
        "group",
        "version",
        "kind",
        "listKind",
        "plural",
        "singular",
        "namespaced",
        "shortNames",
        "categories",
        "verbs",
        "subresources",
        "subresourceVerbs",
        "package",
    ];
    let (mut out, mut legacy) = (String::new(), String::new());
    for row in table(folder, "kinds.tsv")? {
        let stable = !row["version"].contains("alpha") && !row["version"].contains("beta");
        let is_served = |by: &str| row["served"].split(',').any(|release| release == by);
        let named = [row["group"].as_str(), row["version"].as_str()];
        let line = keep.map(|column| row[column].as_str()).join("\t");
        if is_served(RELEASE) && stable {
            writeln!(out, "{line}")?;
        } else if is_served(OLDEST) && LEGACY.contains(&named) && row["kind"] != "PodSecurityPolicy" {
            let ends = ["deprecated", "removed", "replacement"].map(|column| row[column].as_str()).join("\t");
            writeln!(legacy, "{line}\t{ends}")?;
        }
    }
    Ok((out, legacy))
}

fn columns(folder: &Path) -> anyhow::Result<String> {
    let keep = ["group", "kind", "name", "type", "format", "priority"];
    let rows = table(folder, "columns.tsv")?;
    let lines = rows.iter().map(|row| keep.map(|column| row[column].as_str()).join("\t") + "\n");
    Ok(lines.collect())
}

/// The texts of `kubectl explain`, compressed: a line `T definition description`, then one for each property.
fn descriptions(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let path = folder.join("swagger.json.gz");
    let file = fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let swagger: serde_json::Value = serde_json::from_reader(GzDecoder::new(file))?;
    let definitions = swagger["definitions"].as_object().context("swagger.json has no definitions")?;
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    let text = |value: &serde_json::Value| {
        let text = value["description"].as_str().unwrap_or_default();
        text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', " ")
    };
    for (name, definition) in definitions {
        writeln!(out, "T\t{name}\t{}", text(definition))?;
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            writeln!(out, "{key}\t{}", text(property))?;
        }
    }
    Ok(out.finish()?)
}
