//! The `Impersonate-*` headers: who a caller acts as, once he may be each part of it.

use crate::registry::{AUTHENTICATED, Attributes, Registry, UNAUTHENTICATED, User};
use api::{Rejected, names};
use http::HeaderMap;
use std::collections::BTreeMap;

const ANONYMOUS: &str = "system:anonymous";
const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
const EXTRA_PREFIX: &str = "impersonate-extra-";
const GROUP: &str = "authentication.k8s.io";

/// One thing that a caller wants to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    ServiceAccount { namespace: String, name: String },
    User(String),
    Group(String),
    Extra { key: String, value: String },
    Uid(String),
}

/// The user that a request is done as.
pub(super) fn impersonate(registry: &Registry, user: User, headers: &HeaderMap) -> Result<User, Rejected> {
    let wishes = wishes(headers)?;
    if wishes.is_empty() {
        return Ok(user);
    }
    for wish in &wishes {
        registry.check(&user, &wish.attributes())?;
    }
    Ok(become_all(wishes))
}

fn wishes(headers: &HeaderMap) -> Result<Vec<Wish>, Rejected> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let user = text("impersonate-user").map(|name| match account(name) {
        Some((namespace, name)) => Wish::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() },
        None => Wish::User(name.to_owned()),
    });
    let has_user = user.is_some();
    let mut all: Vec<Wish> = user.into_iter().collect();
    let groups = headers.get_all("impersonate-group").iter().filter_map(|value| value.to_str().ok());
    all.extend(groups.map(|group| Wish::Group(group.to_owned())));
    let mut extra = BTreeMap::<String, Vec<String>>::new();
    for (header, value) in headers {
        if let (Some(key), Ok(value)) = (header.as_str().strip_prefix(EXTRA_PREFIX), value.to_str()) {
            extra.entry(super::request::decode(key).into_owned()).or_default().push(value.to_owned());
        }
    }
    let each = |(key, values): (String, Vec<String>)| {
        values.into_iter().map(move |value| Wish::Extra { key: key.clone(), value })
    };
    all.extend(extra.into_iter().flat_map(each));
    all.extend(text("impersonate-uid").map(|uid| Wish::Uid(uid.to_owned())));
    if has_user || all.is_empty() {
        return Ok(all);
    }
    let told: Vec<String> = all.iter().map(Wish::told).collect();
    Err(Rejected::bad_request(format!("requested [{}] without impersonating a user", told.join(" "))))
}

/// Namespace and name of `system:serviceaccount:NAMESPACE:NAME`.
fn account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(ACCOUNT_PREFIX)?.split_once(':')?;
    let is_one = names::dns_label(namespace).is_empty() && names::dns_subdomain(name).is_empty();
    is_one.then_some((namespace, name))
}

fn become_all(wishes: Vec<Wish>) -> User {
    let mut user = User::default();
    let names_groups = wishes.iter().any(|wish| matches!(wish, Wish::Group(_)));
    for wish in wishes {
        match wish {
            Wish::ServiceAccount { namespace, name } => {
                let account = User::service_account(&namespace, &name);
                user.name = account.name;
                // What is known of an account without asking, unless the caller says otherwise.
                if !names_groups {
                    user.groups = account.groups;
                }
            }
            Wish::User(name) => user.name = name,
            Wish::Group(group) => user.groups.push(group),
            Wish::Extra { key, value } => user.extra.entry(key).or_default().push(value),
            Wish::Uid(uid) => user.uid = uid,
        }
    }
    let own = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.is_in(own) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(own.to_owned());
    }
    user
}

// === impl Wish ===

impl Wish {
    fn attributes(&self) -> Attributes<'_> {
        let wanted = Attributes { verb: "impersonate", ..Attributes::default() };
        match self {
            Wish::ServiceAccount { namespace, name } => {
                Attributes { resource: "serviceaccounts", namespace, name, ..wanted }
            }
            Wish::User(name) => Attributes { resource: "users", name, ..wanted },
            Wish::Group(name) => Attributes { resource: "groups", name, ..wanted },
            Wish::Extra { key, value } => {
                Attributes { group: GROUP, resource: "userextras", subresource: key, name: value, ..wanted }
            }
            Wish::Uid(name) => Attributes { group: GROUP, resource: "uids", name, ..wanted },
        }
    }

    /// As Go prints the object reference that upstream keeps a wish in.
    fn told(&self) -> String {
        match self {
            Wish::ServiceAccount { namespace, name } => format!("{{ServiceAccount {namespace} {name}    }}"),
            Wish::User(name) => format!("{{User  {name}    }}"),
            Wish::Group(name) => format!("{{Group  {name}    }}"),
            Wish::Extra { key, value } => format!("{{UserExtra  {value}  {GROUP}/v1  {key}}}"),
            Wish::Uid(name) => format!("{{UID  {name}  {GROUP}/v1  }}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let each = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(each).collect()
    }

    fn became(all: &[(&'static str, &'static str)]) -> User {
        become_all(wishes(&headers(all)).expect("well formed"))
    }

    #[test]
    fn a_caller_becomes_what_the_headers_say() {
        let groups = |all: &[(&'static str, &'static str)]| became(all).groups;
        assert_eq!(groups(&[("impersonate-user", "a")]), ["system:authenticated"]);
        assert_eq!(groups(&[("impersonate-user", "system:anonymous")]), ["system:unauthenticated"]);
        let several = [("impersonate-user", "a"), ("impersonate-group", "x"), ("impersonate-group", "b")];
        assert_eq!(groups(&several), ["x", "b", "system:authenticated"]);
        let account = [("impersonate-user", "system:serviceaccount:a:b")];
        let expected = ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"];
        assert_eq!(groups(&account), expected);
        assert_eq!(groups(&[account[0], ("impersonate-group", "x")]), ["x", "system:authenticated"]);
        let user = became(&[("impersonate-user", "a"), ("impersonate-extra-a.b%2fc", "v"), ("impersonate-uid", "u")]);
        assert_eq!((user.uid.as_str(), &user.extra["a.b/c"][..]), ("u", &["v".to_owned()][..]));
    }

    #[test]
    fn without_a_user_there_is_nobody_to_be() {
        let why = |all: &[(&'static str, &'static str)]| wishes(&headers(all)).map_err(|rejected| rejected.message);
        let told = |what: &str| Err(format!("requested [{what}] without impersonating a user"));
        assert_eq!(why(&[]), Ok(Vec::new()));
        assert_eq!(why(&[("impersonate-group", "system:masters")]), told("{Group  system:masters    }"));
        let extra = "{UserExtra  a  authentication.k8s.io/v1  scopes}";
        assert_eq!(why(&[("impersonate-extra-scopes", "a")]), told(extra));
    }
}
