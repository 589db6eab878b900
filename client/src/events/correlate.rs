//! Which events become objects: pure, and to the letter of client-go's correlator (1.32).
//!
//! The same source, object, type, reason and message: one event with a count. More than ten messages of one reason
//! within ten minutes: one event for all further ones. More than 25 writes about one object: one each five minutes.

use api::time::{self, SignedDuration, Timestamp};
use api::{Object, Tree};
use serde_json::json;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Different messages of one reason that are told one by one, and how long they are remembered.
const SIMILAR_MAX: usize = 10;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_secs(600);
/// Writes about one object at once, and how soon each is earned back.
const BURST: i64 = 25;
const REFILL: SignedDuration = SignedDuration::from_secs(300);
/// Objects that are remembered (client-go: 4096; an edge device has fewer pods, and less memory).
const OBJECTS_MAX: usize = 2048;
/// Where events about cluster-scoped objects live.
const DEFAULT_NAMESPACE: &str = "default";

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct About {
    pub api_version: &'static str,
    pub kind: &'static str,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// As in `spec.containers{web}`; empty: the whole object.
    pub field_path: String,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Happened {
    pub about: About,
    /// Who tells, as in `deployment-controller`.
    pub component: &'static str,
    pub is_warning: bool,
    pub reason: &'static str,
    pub message: String,
}

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Create { namespace: String, event: Tree },
    Count { namespace: String, name: String, patch: Tree },
}

/// What was told so far. Pure: the time is passed in.
#[derive(Debug)]
pub(super) struct Correlator {
    host: String,
    objects: HashMap<Source, Told>,
    /// The oldest first.
    order: VecDeque<Source>,
    /// Makes the names of events of one nanosecond differ.
    number: u32,
}

/// Who tells about what.
type Source = (&'static str, About);

/// What was told about one object.
#[derive(Debug, Default)]
struct Told {
    events: HashMap<Content, Written>,
    similar: HashMap<Kind, Similar>,
    /// Writes that are not earned back yet, as of `since`.
    spent: i64,
    since: Option<Timestamp>,
}

/// Type and reason.
type Kind = (bool, &'static str);
/// Type, reason and message; no message for the event of all further ones.
type Content = (Kind, Option<String>);

#[derive(Debug)]
struct Written {
    name: String,
    count: u32,
}

#[derive(Debug)]
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

// === impl About ===

impl About {
    #[must_use]
    pub fn new(api_version: &'static str, kind: &'static str, object: &Object) -> About {
        About {
            api_version,
            kind,
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            field_path: String::new(),
        }
    }

    #[must_use]
    pub fn of(api_version: &'static str, kind: &'static str, meta: &api::view::Meta) -> About {
        About {
            api_version,
            kind,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            field_path: String::new(),
        }
    }

    #[must_use]
    pub fn pod(meta: &api::view::Meta) -> About {
        About::of("v1", "Pod", meta)
    }

    fn event_namespace(&self) -> &str {
        if self.namespace.is_empty() { DEFAULT_NAMESPACE } else { &self.namespace }
    }

    fn reference(&self) -> Tree {
        let mut tree = json!({
            "kind": self.kind, "name": self.name, "uid": self.uid, "apiVersion": self.api_version,
        });
        for (key, value) in [("namespace", &self.namespace), ("fieldPath", &self.field_path)] {
            if !value.is_empty() {
                api::object::edit::set(&mut tree, &[key], value.as_str());
            }
        }
        tree
    }
}

// === impl Happened ===

impl Happened {
    #[must_use]
    pub fn normal(component: &'static str, about: About, reason: &'static str, message: String) -> Happened {
        Happened { about, component, is_warning: false, reason, message }
    }

    #[must_use]
    pub fn warning(component: &'static str, about: About, reason: &'static str, message: String) -> Happened {
        Happened { about, component, is_warning: true, reason, message }
    }

    fn kind(&self) -> Kind {
        (self.is_warning, self.reason)
    }
}

// === impl Correlator ===

impl Correlator {
    pub(super) fn new(host: &str) -> Correlator {
        Correlator { host: host.to_owned(), objects: HashMap::new(), order: VecDeque::new(), number: 0 }
    }

    /// What to write; `None` if the object has been told about too often.
    pub(super) fn step(&mut self, happened: &Happened, now: Timestamp) -> Option<Step> {
        let name = self.name(happened, now);
        let told = self.remember(happened);
        let (content, message) = told.content(happened, now);
        let namespace = happened.about.event_namespace().to_owned();
        if let Some(written) = told.events.get_mut(&content) {
            written.count += 1;
            let patch = json!({ "count": written.count, "lastTimestamp": time::seconds(now), "message": message });
            let name = written.name.clone();
            return told.may_write(now).then_some(Step::Count { namespace, name, patch });
        }
        if !told.may_write(now) {
            return None;
        }
        told.events.insert(content, Written { name: name.clone(), count: 1 });
        Some(Step::Create { namespace, event: self.event(happened, &name, &message, now) })
    }

    /// The event as a new object: the one that was counted is no more.
    pub(super) fn anew(&mut self, happened: &Happened, now: Timestamp) -> Step {
        let name = self.name(happened, now);
        let told = self.remember(happened);
        let (content, message) = told.content(happened, now);
        told.events.insert(content, Written { name: name.clone(), count: 1 });
        let namespace = happened.about.event_namespace().to_owned();
        Step::Create { namespace, event: self.event(happened, &name, &message, now) }
    }

    fn name(&mut self, happened: &Happened, now: Timestamp) -> String {
        self.number = self.number.wrapping_add(1) % 1000;
        format!("{}.{:x}", happened.about.name, now.as_nanosecond() + i128::from(self.number))
    }

    fn remember(&mut self, happened: &Happened) -> &mut Told {
        let source = (happened.component, happened.about.clone());
        if !self.objects.contains_key(&source) {
            if self.order.len() >= OBJECTS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.objects.remove(&oldest);
            }
            self.order.push_back(source.clone());
        }
        self.objects.entry(source).or_default()
    }

    fn event(&self, happened: &Happened, name: &str, message: &str, now: Timestamp) -> Tree {
        let at = time::seconds(now);
        let mut source = json!({ "component": happened.component });
        if !self.host.is_empty() {
            api::object::edit::set(&mut source, &["host"], self.host.as_str());
        }
        json!({
            "kind": "Event", "apiVersion": "v1",
            "metadata": { "name": name, "namespace": happened.about.event_namespace() },
            "involvedObject": happened.about.reference(),
            "reason": happened.reason,
            "message": message,
            "source": source,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
            "type": if happened.is_warning { "Warning" } else { "Normal" },
            "eventTime": null,
            "reportingComponent": happened.component,
            "reportingInstance": self.host,
        })
    }
}

// === impl Told ===

impl Told {
    /// Which event it belongs to, and its text there.
    fn content(&mut self, happened: &Happened, now: Timestamp) -> (Content, String) {
        let kind = happened.kind();
        let similar = self.similar.entry(kind).or_insert_with(|| Similar { messages: BTreeSet::new(), last: now });
        if now.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = now;
        let is_known = similar.messages.contains(&happened.message);
        if is_known || similar.messages.len() < SIMILAR_MAX {
            similar.messages.insert(happened.message.clone());
            return ((kind, Some(happened.message.clone())), happened.message.clone());
        }
        ((kind, None), format!("(combined from similar events): {}", happened.message))
    }

    fn may_write(&mut self, now: Timestamp) -> bool {
        let since = *self.since.get_or_insert(now);
        let earned = now.duration_since(since).as_secs() / REFILL.as_secs();
        if earned > 0 {
            self.spent = (self.spent - earned).max(0);
            self.since = Some(if self.spent == 0 { now } else { since + REFILL * i32::try_from(earned).unwrap_or(1) });
        }
        let may = self.spent < BURST;
        self.spent += i64::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(message: &str) -> Happened {
        let about = About {
            api_version: "apps/v1",
            kind: "ReplicaSet",
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u".into(),
            field_path: String::new(),
        };
        Happened::normal("replicaset-controller", about, "SuccessfulCreate", message.to_owned())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    #[test]
    fn the_same_again_is_counted() {
        let mut correlator = Correlator::new("");
        let Some(Step::Create { namespace, event }) = correlator.step(&happened("a"), at(0)) else {
            panic!("the first is made")
        };
        assert_eq!(namespace, "shop");
        assert_eq!(event["count"], 1);
        assert_eq!(event["source"], json!({"component": "replicaset-controller"}));
        let Some(Step::Count { name, patch, .. }) = correlator.step(&happened("a"), at(5)) else {
            panic!("the second is counted")
        };
        assert_eq!(event["metadata"]["name"], name);
        assert_eq!(patch["count"], 2);
        assert_eq!(patch["lastTimestamp"], time::seconds(at(5)));
        assert!(matches!(correlator.anew(&happened("a"), at(6)), Step::Create { .. }), "it has expired");
        let Some(Step::Count { patch, .. }) = correlator.step(&happened("a"), at(7)) else { panic!("counted") };
        assert_eq!(patch["count"], 2, "counted from the new one on");
    }

    #[test]
    fn the_eleventh_message_of_a_reason_stands_for_all_further_ones() {
        let mut correlator = Correlator::new("");
        let made = (0..10).filter_map(|index| correlator.step(&happened(&format!("pod {index}")), at(0)));
        assert!(made.collect::<Vec<_>>().iter().all(|step| matches!(step, Step::Create { .. })));
        let Some(Step::Create { event, .. }) = correlator.step(&happened("pod 10"), at(1)) else { panic!("made") };
        assert_eq!(event["message"], "(combined from similar events): pod 10");
        let Some(Step::Count { patch, .. }) = correlator.step(&happened("pod 11"), at(1)) else { panic!("counted") };
        assert_eq!((&patch["count"], &patch["message"]), (&json!(2), &json!("(combined from similar events): pod 11")));
        let later = correlator.step(&happened("pod 12"), at(700));
        assert!(matches!(later, Some(Step::Create { event, .. }) if event["message"] == "pod 12"), "ten minutes on");
    }

    #[test]
    fn five_hundred_pods_of_one_set_cost_twenty_five_writes() {
        let mut correlator = Correlator::new("");
        let writes = (0..500).filter_map(|index| correlator.step(&happened(&format!("pod {index}")), at(0))).count();
        assert_eq!(writes, 25);
        assert_eq!(correlator.step(&happened("one more"), at(299)), None);
        let Some(Step::Count { patch, .. }) = correlator.step(&happened("one more"), at(300)) else {
            panic!("one write is earned back")
        };
        assert_eq!(patch["count"], 492, "what was not written is counted all the same");
    }

    #[test]
    fn what_was_told_longest_ago_is_forgotten() {
        let mut correlator = Correlator::new("");
        for index in 0..=OBJECTS_MAX {
            let mut one = happened("a");
            one.about.name = index.to_string();
            correlator.step(&one, at(0));
        }
        assert_eq!((correlator.objects.len(), correlator.order.len()), (OBJECTS_MAX, OBJECTS_MAX));
        assert!(!correlator.objects.keys().any(|(_, about)| about.name == "0"));
    }

    #[test]
    fn events_about_cluster_scoped_objects_live_in_default() {
        let mut one = happened("a");
        one.about.namespace.clear();
        let Some(Step::Create { namespace, event }) = Correlator::new("n").step(&one, at(0)) else { panic!("made") };
        assert_eq!(namespace, "default");
        assert!(event["involvedObject"].get("namespace").is_none());
        assert_eq!(event["source"]["host"], "n");
    }
}
