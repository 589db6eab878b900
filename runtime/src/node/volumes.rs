//! A pod's volumes as folders: what is in them (pure), and how an update replaces all files of one at once.

use super::Mount;
use super::env::{Facts, field, resource};
use super::sources::{Data, Sources};
use api::view;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// A file's mode where nobody says another (Kubernetes' default).
const MODE_DEFAULT: u32 = 0o644;

/// A token that goes into a volume, by the path that it is wanted at.
pub(super) type Tokens = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    bytes: Bytes,
    mode: u32,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The pod's own, empty at first, gone with the pod.
    Empty,
    /// Made from objects; replaced as a whole when they change.
    Files(BTreeMap<String, File>),
    /// A folder of the machine.
    Host(PathBuf),
}

/// The content of a volume. The error is the event's message.
pub(super) fn content(
    volume: &view::Volume,
    facts: &Facts<'_>,
    sources: &Sources,
    tokens: &Tokens,
) -> Result<Content, String> {
    let mut files = BTreeMap::new();
    if volume.empty_dir.is_some() {
        return Ok(Content::Empty);
    } else if let Some(map) = &volume.config_map {
        pick_config_map(&mut files, map, sources, map.default_mode)?;
    } else if let Some(secret) = &volume.secret {
        pick_secret(&mut files, secret, sources, secret.default_mode)?;
    } else if let Some(downward) = &volume.downward_api {
        pick_downward(&mut files, downward, facts, downward.default_mode)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode;
        for part in &projected.sources {
            if let Some(map) = &part.config_map {
                pick_config_map(&mut files, map, sources, mode)?;
            } else if let Some(secret) = &part.secret {
                pick_secret(&mut files, secret, sources, mode)?;
            } else if let Some(downward) = &part.downward_api {
                pick_downward(&mut files, downward, facts, mode)?;
            } else if let Some(token) = &part.service_account_token {
                let text = tokens.get(&token.path).ok_or("the service account's token has not come yet")?;
                put(&mut files, &token.path, Bytes::from(text.clone()), mode.or(Some(0o600)))?;
            }
        }
    } else if let Some(host) = &volume.host_path {
        return Ok(Content::Host(PathBuf::from(&host.path)));
    } else {
        return Err(format!("volume {:?} is of a kind that this node does not have", volume.name));
    }
    Ok(Content::Files(files))
}

/// Where a container's mounts are on this node. Refuses what cannot be kept.
pub(super) fn mounts(dir: &Path, pod: &view::Pod, container: &view::Container) -> Result<Vec<Mount>, String> {
    let mount = |mount: &view::VolumeMount| {
        if !mount.sub_path.is_empty() {
            let path = &mount.mount_path;
            return Err(format!("subPath of the mount {path:?} is not supported; mount the whole volume"));
        }
        let volume = pod.spec.volumes.iter().find(|volume| volume.name == mount.name);
        let volume = volume.ok_or_else(|| format!("the pod has no volume {:?}", mount.name))?;
        let host_path = match &volume.host_path {
            Some(host) => PathBuf::from(&host.path),
            None => dir.join(&volume.name),
        };
        let is_files = volume.empty_dir.is_none() && volume.host_path.is_none();
        Ok(Mount { host_path, guest_path: mount.mount_path.clone(), read_only: mount.read_only || is_files })
    };
    container.volume_mounts.iter().map(mount).collect()
}

/// Makes a volume be its content. What is already so is not touched.
pub(super) fn write(dir: &Path, content: &Content, stamp: &str) -> io::Result<()> {
    match content {
        Content::Host(path) => std::fs::create_dir_all(path),
        Content::Empty => std::fs::create_dir_all(dir),
        Content::Files(files) => write_files(dir, files, stamp),
    }
}

/// All files of a version stand in a folder of their own; `..data` points at it, and is exchanged by one rename.
fn write_files(dir: &Path, files: &BTreeMap<String, File>, stamp: &str) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let data = dir.join("..data");
    let before = std::fs::read_link(&data).ok();
    if before.is_some() && is_same(&data, files) {
        return Ok(());
    }
    let version = format!("..{stamp}");
    let folder = dir.join(&version);
    std::fs::create_dir_all(&folder)?;
    for (path, file) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(file.mode);
        io::Write::write_all(&mut options.open(&path)?, &file.bytes)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(file.mode))?;
    }
    let fresh = dir.join("..data_tmp");
    let _ = std::fs::remove_file(&fresh);
    std::os::unix::fs::symlink(&version, &fresh)?;
    std::fs::rename(&fresh, &data)?;
    link_names(dir, files)?;
    if let Some(before) = before.filter(|before| before.as_os_str() != version.as_str()) {
        let _ = std::fs::remove_dir_all(dir.join(before));
    }
    Ok(())
}

/// The names that a container sees, each a link through `..data`; names that are no more go.
fn link_names(dir: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: std::collections::BTreeSet<String> = files.keys().map(|path| first(path)).collect();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(&*name) {
            let _ = std::fs::remove_file(dir.join(&*name));
        }
    }
    for name in wanted {
        match std::os::unix::fs::symlink(Path::new("..data").join(&name), dir.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn is_same(data: &Path, files: &BTreeMap<String, File>) -> bool {
    let same = |(path, file): (&String, &File)| std::fs::read(data.join(path)).is_ok_and(|have| have == file.bytes);
    fn count(dir: &Path) -> usize {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    files.iter().all(same) && count(data) == files.len()
}

fn pick_config_map(
    files: &mut BTreeMap<String, File>,
    map: &view::ConfigMapVolume,
    sources: &Sources,
    mode: Option<u32>,
) -> Result<(), String> {
    match sources.config_map(&map.name) {
        Some(data) => pick(files, data, &map.items, map.optional, mode),
        None if map.optional => Ok(()),
        None => Err(format!("configmap {:?} not found", map.name)),
    }
}

fn pick_secret(
    files: &mut BTreeMap<String, File>,
    secret: &view::SecretVolume,
    sources: &Sources,
    mode: Option<u32>,
) -> Result<(), String> {
    match sources.secret(&secret.secret_name) {
        Some(data) => pick(files, data, &secret.items, secret.optional, mode),
        None if secret.optional => Ok(()),
        None => Err(format!("secret {:?} not found", secret.secret_name)),
    }
}

fn pick(
    files: &mut BTreeMap<String, File>,
    data: &Data,
    items: &[view::KeyToPath],
    optional: bool,
    mode: Option<u32>,
) -> Result<(), String> {
    if items.is_empty() {
        for (key, bytes) in data {
            put(files, key, bytes.clone(), mode)?;
        }
        return Ok(());
    }
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => put(files, &item.path, bytes.clone(), item.mode.or(mode))?,
            None if optional => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(())
}

fn pick_downward(
    files: &mut BTreeMap<String, File>,
    downward: &view::DownwardVolume,
    facts: &Facts<'_>,
    mode: Option<u32>,
) -> Result<(), String> {
    for item in &downward.items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => {
                let path = &reference.field_path;
                field(path, facts).ok_or_else(|| format!("unsupported fieldPath: {path}"))?
            }
            (None, Some(reference)) => resource(reference, None, facts)?,
            (None, None) => continue,
        };
        put(files, &item.path, Bytes::from(text), item.mode.or(mode))?;
    }
    Ok(())
}

fn put(files: &mut BTreeMap<String, File>, path: &str, bytes: Bytes, mode: Option<u32>) -> Result<(), String> {
    // The API validates paths; a node must not write outside a volume even if it did not.
    let is_inside =
        !path.starts_with("..") && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !is_inside {
        return Err(format!("the path {path:?} leads out of the volume"));
    }
    files.insert(path.to_owned(), File { bytes, mode: mode.unwrap_or(MODE_DEFAULT) & 0o777 });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &'static str)]) -> Content {
        let file = |text: &'static str| File { bytes: Bytes::from(text), mode: 0o640 };
        Content::Files(all.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect())
    }

    #[test]
    fn an_update_replaces_all_files_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).ok();
        write(dir.path(), &files(&[("a", "1"), ("deep/b", "2")]), "v1").unwrap();
        assert_eq!((read("a").as_deref(), read("deep/b").as_deref()), (Some("1"), Some("2")));
        let mode = std::fs::metadata(dir.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        write(dir.path(), &files(&[("a", "1"), ("deep/b", "2")]), "v2").unwrap();
        assert_eq!(std::fs::read_link(dir.path().join("..data")).unwrap(), Path::new("..v1"), "nothing changed");
        write(dir.path(), &files(&[("a", "3")]), "v3").unwrap();
        assert_eq!((read("a").as_deref(), read("deep/b")), (Some("3"), None));
        assert!(!dir.path().join("..v1").exists() && !dir.path().join("deep").exists());
    }

    #[test]
    fn paths_stay_inside() {
        let check = |path: &str| put(&mut BTreeMap::new(), path, Bytes::new(), None).is_ok();
        assert!(check("a/b") && check(".hidden"));
        assert!(!check("../a") && !check("/a") && !check("a/../../b") && !check("..data") && !check(""));
    }
}
