//! Lists and watches of one server beside a model of what another one writes, while the store is compacted and the
//! reader cut off from it: no gap, no repeat, no step back.

use super::*;
use crate::store::kv::{Changes, Error as KvError, Range, Ranged, Txn, TxnDone, Watch};
use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// Turns of all tasks without a write, after which the servers have begun.
const QUIET: usize = 100;

/// Value by name.
type State = BTreeMap<String, String>;

#[derive(Debug, Clone)]
enum Act {
    Put(u8),
    Delete(u8),
    /// Forget what is older than so many writes.
    Compact(usize),
    /// Cut the reader off, or let it follow again.
    Cut(bool),
    /// Begin a list in pages.
    Page(usize),
    NextPage,
    /// The state of so many writes ago.
    Exact(usize),
    /// Watch from the state of so many writes ago.
    Watch(usize),
}

/// A store that can be kept from telling its changes.
struct Cutting {
    kv: Arc<dyn Kv>,
    is_cut: watch::Sender<bool>,
}

impl Kv for Cutting {
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Ranged, KvError>> {
        self.kv.range(range)
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnDone, KvError>> {
        self.kv.txn(txn)
    }

    fn watch(&self, watch: Watch) -> BoxFuture<'_, Result<Changes, KvError>> {
        async move {
            let mut is_cut = self.is_cut.subscribe();
            let _ = is_cut.wait_for(|is_cut| !is_cut).await;
            let changes = self.kv.watch(watch).await?;
            let cut = async move {
                let _ = is_cut.wait_for(|is_cut| *is_cut).await;
            };
            Ok(changes.take_until(cut.boxed()).boxed())
        }
        .boxed()
    }

    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), KvError>> {
        self.kv.compact(revision)
    }

    fn revision(&self) -> u64 {
        self.kv.revision()
    }
}

/// What one watch has seen.
struct Seen {
    events: client::Events,
    state: State,
    revision: u64,
    /// It was told to list again.
    has_expired: bool,
    /// How far the reader was, at least: a watch may begin ahead of it, on a way that a compaction then takes away.
    reached: u64,
}

struct Run {
    kv: Arc<Cutting>,
    writer: Registry,
    reader: Registry,
    /// The state after each write, by revision.
    model: Vec<(u64, State)>,
    compacted: u64,
    /// A list in pages: its revision, what it showed, and the token of the next page.
    pages: Option<(u64, State, String, usize)>,
    watches: Vec<Seen>,
}

impl Run {
    async fn open() -> Run {
        let kv = Arc::new(Cutting { kv: Arc::new(memory::Memory::new()), is_cut: watch::channel(false).0 });
        let open = |kv: Arc<dyn Kv>| Registry::open(kv, Config::default(), Clock::system());
        let writer = open(Arc::clone(&kv.kv)).await.expect("it opens");
        let reader = open(Arc::clone(&kv) as Arc<dyn Kv>).await.expect("it opens");
        // What both write of their own accord when they begin is no part of the model.
        let mut quiet = (0, kv.revision());
        while quiet.0 < QUIET {
            tokio::task::yield_now().await;
            quiet = if kv.revision() == quiet.1 { (quiet.0 + 1, quiet.1) } else { (0, kv.revision()) };
        }
        let model = vec![(kv.revision(), State::new())];
        Run { kv, writer, reader, model, compacted: 0, pages: None, watches: Vec::new() }
    }

    fn newest(&self) -> &(u64, State) {
        self.model.last().expect("there is a first state")
    }

    fn back(&self, writes: usize) -> (u64, State) {
        self.model[self.model.len().saturating_sub(writes + 1)].clone()
    }

    fn at(&self, revision: u64) -> &State {
        let before = self.model.iter().rev().find(|(at, _)| *at <= revision);
        &before.expect("a revision of the model").1
    }

    async fn act(&mut self, act: Act) {
        let user = User::system_admin();
        let kind = api::kinds::find(&CONFIG_MAPS).expect("built in");
        let all = Call { namespace: Some("default"), ..Call::new(&user, kind) };
        let is_cut = *self.kv.is_cut.borrow();
        match act {
            Act::Put(name) => self.put(all, format!("m{name}")).await,
            Act::Delete(name) => self.delete(all, &format!("m{name}")).await,
            Act::Compact(back) => {
                let revision = self.back(back).0;
                if revision > self.compacted {
                    self.kv.compact(revision).await.expect("it is compacted");
                    self.compacted = revision;
                }
            }
            Act::Cut(cut) => {
                self.kv.is_cut.send_replace(cut);
            }
            // A server that is cut off answers no list: it would wait.
            Act::Page(_) | Act::NextPage | Act::Exact(_) if is_cut => {}
            Act::Page(limit) => {
                let page =
                    self.reader.list(all, ListOptions { limit, ..ListOptions::default() }).await.expect("a page");
                assert_eq!(page.revision.min(self.newest().0), self.newest().0, "a list is as new as the last write");
                self.paged(page, State::new(), limit);
            }
            Act::NextPage => {
                let Some((revision, shown, next, limit)) = self.pages.take() else { return };
                let options = ListOptions { limit, next: Some(next), ..ListOptions::default() };
                match self.reader.list(all, options).await {
                    Ok(page) => {
                        assert_eq!(page.revision, revision, "all pages show one state");
                        self.paged(page, shown, limit);
                    }
                    Err(rejected) => {
                        assert!(rejected.is_expired() && self.compacted > revision, "{rejected}");
                        self.go_on(all, shown, rejected.details.next.clone(), limit).await;
                    }
                }
            }
            Act::Exact(back) => {
                let (revision, state) = self.back(back);
                let options = ListOptions { revision: Some(revision), ..ListOptions::default() };
                match self.reader.list_exact(all, options).await {
                    Ok(page) => assert_eq!(shown(&page.items), state),
                    Err(rejected) => assert!(rejected.is_expired() && self.compacted > revision, "{rejected}"),
                }
            }
            Act::Watch(back) => {
                let (revision, state) = self.back(back);
                let reached = revision.min(self.reader.0.memory.applied());
                match self.reader.watch(all, WatchOptions { revision, ..WatchOptions::default() }).await {
                    Ok(events) => self.watches.push(Seen { events, state, revision, has_expired: false, reached }),
                    Err(rejected) => assert!(rejected.is_expired() && self.compacted > 0, "{rejected}"),
                }
            }
        }
        self.see();
    }

    async fn put(&mut self, all: Call<'_>, name: String) {
        let value = format!("v{}", self.model.len());
        let tree = json!({"metadata": {"name": name}, "data": {"v": value}});
        let written = if self.newest().1.contains_key(&name) {
            self.writer.update(Call { name: &name, ..all }, tree).await
        } else {
            self.writer.create(all, tree).await
        };
        let mut state = self.newest().1.clone();
        state.insert(name, value);
        self.model.push((written.expect("it is written").object.revision(), state));
    }

    async fn delete(&mut self, all: Call<'_>, name: &str) {
        if let Ok(gone) = self.writer.delete(Call { name, ..all }, DeleteOptions::default()).await {
            let mut state = self.newest().1.clone();
            state.remove(name);
            self.model.push((gone.object().revision(), state));
        }
    }

    fn paged(&mut self, page: super::super::Page, mut before: State, limit: usize) {
        let items = shown(&page.items);
        assert!(items.keys().next().is_none_or(|first| before.keys().next_back().is_none_or(|last| last < first)));
        before.extend(items);
        match page.next {
            Some(next) => self.pages = Some((page.revision, before, next, limit)),
            None => assert_eq!(before, *self.at(page.revision), "the pages are the whole state, and nothing else"),
        }
    }

    /// The rest of a list whose state is forgotten: what is newest, from where the list was.
    async fn go_on(&self, call: Call<'_>, before: State, next: String, limit: usize) {
        let page = self.reader.list(call, ListOptions { limit: 0, next: Some(next), ..ListOptions::default() }).await;
        let page = page.expect("the token of the refusal leads on");
        let last = before.keys().next_back().cloned().unwrap_or_default();
        let rest: State = self.newest().1.clone().into_iter().filter(|(name, _)| *name > last).collect();
        assert_eq!(shown(&page.items), rest, "after {limit} a page");
    }

    /// Takes what the watches have to tell, and checks that each event fits on what was there before.
    fn see(&mut self) {
        for seen in self.watches.iter_mut().filter(|seen| !seen.has_expired) {
            while let Some(Some(event)) = seen.events.next().now_or_never() {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        assert!(error.is_expired() && self.compacted > seen.reached, "{error}");
                        seen.has_expired = true;
                        break;
                    }
                };
                let revision = event.revision();
                let (object, fits) = match &event {
                    Event::Added(object) => (object, !seen.state.contains_key(object.name())),
                    Event::Modified(object) => (object, seen.state.contains_key(object.name())),
                    Event::Deleted(object) => (object, seen.state.contains_key(object.name())),
                    Event::Bookmark { .. } => panic!("nobody asked for bookmarks"),
                };
                assert!(fits, "{event:?} on {:?}", seen.state);
                // What went while the reader was cut off went, for it, all at once.
                let is_deleted = matches!(event, Event::Deleted(_));
                assert!(revision > seen.revision || is_deleted && revision == seen.revision, "{event:?} steps back");
                seen.revision = revision;
                seen.reached = revision;
                if is_deleted {
                    seen.state.remove(object.name());
                } else {
                    seen.state.extend(shown(std::slice::from_ref(object)));
                }
            }
        }
    }

    /// All watches come to the newest state.
    async fn end(mut self) {
        self.kv.is_cut.send_replace(false);
        assert!(self.reader.0.memory.shows(self.newest().0, Duration::from_secs(60)).await, "the reader follows again");
        self.see();
        let newest = self.newest().1.clone();
        for seen in self.watches.iter().filter(|seen| !seen.has_expired) {
            assert_eq!(seen.state, newest, "a watch saw all of it");
        }
    }
}

fn shown(objects: &[Arc<Object>]) -> State {
    let value = |object: &Arc<Object>| object.tree()["data"]["v"].as_str().unwrap_or_default().to_owned();
    objects.iter().map(|object| (object.name().to_owned(), value(object))).collect()
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_u8..5).prop_map(Act::Put),
        3 => (0_u8..5).prop_map(Act::Delete),
        2 => (0_usize..4).prop_map(Act::Compact),
        2 => any::<bool>().prop_map(Act::Cut),
        2 => (1_usize..3).prop_map(Act::Page),
        3 => Just(Act::NextPage),
        2 => (0_usize..6).prop_map(Act::Exact),
        2 => (0_usize..6).prop_map(Act::Watch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_gap_no_repeat_no_step_back(acts in prop::collection::vec(act(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let mut run = Run::open().await;
            for act in acts {
                run.act(act).await;
                // The reader's own task takes what was written.
                tokio::task::yield_now().await;
            }
            run.end().await;
        });
    }
}
