//! Security contexts: users, groups, profiles. What a guest of WebAssembly has no use for is checked all the same.

use super::findings::Findings;
use super::place::Place;
use super::shown;
use super::values::path_below;
use crate::names;

const ID_MAX: i64 = i32::MAX as i64;
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

/// The context of a whole pod.
pub(super) fn pod(spec: &Place<'_, '_>, found: &mut Findings) {
    let at = spec.get("securityContext");
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        found.within(&at.get(key), 0, ID_MAX);
    }
    at.get("supplementalGroups").each().for_each(|group| found.within(&group, 0, ID_MAX));
    let shared = spec.get("shareProcessNamespace");
    if shared.is_true() && spec.get("hostPID").is_true() {
        let at = at.alias("shareProcessNamespace", &shared);
        found.invalid(&at, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    for one in at.get("sysctls").each() {
        sysctl(&one.get("name"), found);
    }
    found.optional_one_of(&at.get("fsGroupChangePolicy"), &["Always", "OnRootMismatch"]);
    profiles(&at, found);
    found.optional_one_of(&at.get("supplementalGroupsPolicy"), &["Merge", "Strict"]);
    found.optional_one_of(&at.get("seLinuxChangePolicy"), &["MountOption", "Recursive"]);
    if spec.get("hostUsers").value().as_bool() == Some(false) {
        // Two of the names begin with a capital upstream.
        for (key, name) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
            if spec.get(key).is_true() {
                found.forbidden(&spec.alias(name, &spec.get(key)), "when `pod.Spec.HostUsers` is false");
            }
        }
    }
}

fn sysctl(name: &Place<'_, '_>, found: &mut Findings) {
    if name.is_empty() {
        found.required(name, "");
    } else if !names::is_sysctl(name.text()) {
        let pattern = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
        found.invalid(name, format!("must have at most 253 characters and match regex {pattern}"));
    }
}

/// The context of one container.
pub(super) fn container(at: &Place<'_, '_>, found: &mut Findings) {
    if !at.is_given() {
        return;
    }
    for key in ["runAsUser", "runAsGroup"] {
        found.within(&at.get(key), 0, ID_MAX);
    }
    found.optional_one_of(&at.get("procMount"), &["Default", "Unmasked"]);
    if at.get("allowPrivilegeEscalation").value().as_bool() == Some(false) {
        let whole = || shown::internal("core/v1", "SecurityContext", at.value());
        if at.get("privileged").is_true() {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            found.invalid_as(at, whole(), why);
        }
        if at.get("capabilities").get("add").texts().any(|one| one == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            found.invalid_as(at, whole(), why);
        }
    }
    profiles(at, found);
}

fn profiles(at: &Place<'_, '_>, found: &mut Findings) {
    for (key, word) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let profile = at.get(key);
        if !profile.is_given() {
            continue;
        }
        let (kind, file) = (profile.get("type"), profile.get("localhostProfile"));
        if kind.is_empty() {
            found.required(&kind, &format!("type is required when {key} is set"));
        } else {
            found.member(&kind, PROFILES);
        }
        if kind.text() == "Localhost" {
            if !file.is_given() {
                found.required(&file, &format!("must be set when {word} type is Localhost"));
            } else if key == "seccompProfile" {
                path_below(&file, found);
            }
        } else if file.is_given() {
            found.invalid(&file, format!("can only be set when {word} type is Localhost"));
        }
    }
}
