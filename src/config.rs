//! `--config FILE`: the same options as YAML, put before those of the command line, which therefore wins.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::Path;

/// The arguments with those of the file that they name inserted after the subcommand.
pub(crate) fn with_file(arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let Some(file) = named(&arguments) else { return Ok(arguments) };
    let path = Path::new(&file);
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the config file {}", path.display()))?;
    let options = options(&text).with_context(|| format!("config file {}", path.display()))?;
    // Program and subcommand come first; the file's options after them, then what was typed.
    let mut all: Vec<OsString> = arguments.iter().take(2).cloned().collect();
    all.extend(options);
    all.extend(arguments.into_iter().skip(2));
    Ok(all)
}

fn named(arguments: &[OsString]) -> Option<OsString> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        if text == "--config" {
            return rest.next().cloned();
        }
        if let Some(file) = text.strip_prefix("--config=") {
            return Some(file.to_owned().into());
        }
    }
    std::env::var_os("CORACLE_CONFIG")
}

fn options(text: &str) -> Result<Vec<OsString>> {
    let tree: serde_yaml::Value = serde_yaml::from_str(text).context("is not YAML")?;
    let entries = match tree {
        serde_yaml::Value::Null => return Ok(Vec::new()),
        serde_yaml::Value::Mapping(entries) => entries,
        _ => bail!("must be `name: value` lines, with the names of the command line's options"),
    };
    let mut options = Vec::new();
    for (name, value) in &entries {
        let Some(name) = name.as_str() else { bail!("an option's name must be a string") };
        let value = match value {
            serde_yaml::Value::Sequence(items) => {
                items.iter().map(|item| scalar(name, item)).collect::<Result<Vec<_>>>()?.join(",")
            }
            other => scalar(name, other)?,
        };
        options.push(format!("--{name}={value}").into());
    }
    Ok(options)
}

fn scalar(name: &str, value: &serde_yaml::Value) -> Result<String> {
    Ok(match value {
        serde_yaml::Value::String(text) => text.clone(),
        serde_yaml::Value::Number(number) => number.to_string(),
        serde_yaml::Value::Bool(flag) => flag.to_string(),
        _ => bail!("option {name} must be a scalar or a list of scalars"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_what_was_typed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "listen: 127.0.0.1:7443\nnode-labels: [a=b, c=d]\n").expect("written");
        let typed = ["coracle", "up", "--config", file.to_str().expect("utf-8"), "--listen", "127.0.0.1:1"];
        let all = with_file(typed.iter().map(OsString::from).collect()).expect("it is valid");
        assert_eq!(all[2], "--listen=127.0.0.1:7443");
        assert_eq!(all[3], "--node-labels=a=b,c=d");
        assert_eq!(all.last().map(|last| last.to_string_lossy()), Some("127.0.0.1:1".into()));
    }

    #[test]
    fn a_file_that_is_no_mapping_is_refused() {
        let error = options("- 1").expect_err("a list is no mapping");
        assert!(error.to_string().contains("name: value"), "{error}");
    }
}
