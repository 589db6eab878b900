//! Watches: many on a stream, from the past and on, cancelled, overtaken and told of progress.

use super::*;
use crate::etcd::wire;
use std::collections::BTreeMap;

struct Watching {
    ask: UnboundedSender<WatchRequest>,
    told: Streaming<WatchResponse>,
}

impl Watching {
    async fn on(client: &Client) -> Watching {
        let (ask, told) = client.stream("Watch/Watch").await;
        Watching { ask, told }
    }

    fn send(&self, ask: WatchAsk) {
        self.ask.send(WatchRequest { request_union: Some(ask) }).unwrap();
    }

    async fn next(&mut self) -> WatchResponse {
        let next = tokio::time::timeout(Duration::from_secs(10), self.told.message());
        next.await.expect("something is told").unwrap().expect("the stream goes on")
    }

    /// The number of a new watch.
    async fn create(&mut self, request: WatchCreateRequest) -> i64 {
        self.send(WatchAsk::Create(request));
        let created = self.next().await;
        assert!(created.created && !created.canceled && created.events.is_empty(), "{created:?}");
        created.watch_id
    }
}

fn of_key(key: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: bytes(key), ..WatchCreateRequest::default() }
}

fn of_all() -> WatchCreateRequest {
    WatchCreateRequest { range_end: bytes("\0"), ..WatchCreateRequest::default() }
}

fn show_events(response: &WatchResponse) -> String {
    let show = |event: &Event| {
        let (kv, previous) = (event.kv.as_ref().unwrap(), event.prev_kv.as_ref());
        let previous = previous.map(|kv| format!("({})", kv.value.escape_ascii())).unwrap_or_default();
        match event.r#type() {
            EventType::Put => {
                format!("{}={}@{}{previous}", kv.key.escape_ascii(), kv.value.escape_ascii(), kv.mod_revision)
            }
            EventType::Delete => format!("-{}@{}{previous}", kv.key.escape_ascii(), kv.mod_revision),
        }
    };
    response.events.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn several_watches_share_a_stream() {
    let client = Client::new();
    client.put("a", "1").await;
    let mut watching = Watching::on(&client).await;
    let from_before = WatchCreateRequest { start_revision: 2, prev_kv: true, ..of_key("a") };
    let first = watching.create(from_before).await;
    assert_eq!(show_events(&watching.next().await), "a=1@2");
    let second = watching.create(WatchCreateRequest { watch_id: 7, ..of_key("b") }).await;
    assert_eq!((first, second), (0, 7));
    client.put("b", "1").await;
    let told = watching.next().await;
    assert_eq!((told.watch_id, show_events(&told).as_str()), (7, "b=1@3"));
    assert_eq!(told.header.unwrap().revision, 3);
    client.put("a", "2").await;
    client.delete("a").await;
    let told = watching.next().await;
    assert_eq!((told.watch_id, show_events(&told).as_str()), (0, "a=2@4(1) -a@5(2)"), "a slow reader gets both");
    watching.send(WatchAsk::Cancel(WatchCancelRequest { watch_id: 0 }));
    let cancelled = watching.next().await;
    assert!(cancelled.canceled && cancelled.watch_id == 0 && cancelled.compact_revision == 0, "{cancelled:?}");
    client.put("a", "3").await;
    client.put("b", "2").await;
    assert_eq!(watching.next().await.watch_id, 7, "a cancelled watch tells nothing");
    let drawn = watching.create(of_key("c")).await;
    assert_eq!(drawn, 1, "numbers are not given twice");
}

#[tokio::test]
async fn a_watch_that_cannot_begin() {
    let client = Client::new();
    for value in ["1", "2", "3", "4"] {
        client.put("a", value).await;
    }
    client.compact(4).await.unwrap();
    let mut watching = Watching::on(&client).await;
    let id = watching.create(WatchCreateRequest { start_revision: 2, ..of_all() }).await;
    let cancelled = watching.next().await;
    assert!(cancelled.canceled && cancelled.watch_id == id && !cancelled.created);
    assert_eq!(cancelled.cancel_reason, "etcdserver: mvcc: required revision has been compacted");
    let oldest = cancelled.compact_revision;
    watching.create(WatchCreateRequest { start_revision: oldest, ..of_all() }).await;
    assert!(show_events(&watching.next().await).ends_with("a=4@5"), "where it was told to begin, it can");
    watching.create(WatchCreateRequest { watch_id: 9, ..of_all() }).await;
    watching.send(WatchAsk::Create(WatchCreateRequest { watch_id: 9, ..of_all() }));
    let refused = watching.next().await;
    assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    watching.send(WatchAsk::Create(WatchCreateRequest { range_end: bytes("a"), ..of_key("b") }));
    assert_eq!(watching.next().await.cancel_reason, "mvcc: watcher range is empty");
}

#[tokio::test]
async fn a_watch_from_a_revision_to_come() {
    let client = Client::new();
    let mut watching = Watching::on(&client).await;
    watching.create(WatchCreateRequest { start_revision: 4, ..of_all() }).await;
    for value in ["2", "3", "4"] {
        client.put("a", value).await;
    }
    assert_eq!(show_events(&watching.next().await), "a=4@4");
}

#[tokio::test]
async fn kinds_of_events_can_be_left_out() {
    let client = Client::new();
    let mut watching = Watching::on(&client).await;
    let without = |filter: FilterType| WatchCreateRequest { filters: vec![filter as i32], ..of_all() };
    let deletions = watching.create(without(FilterType::NoPut)).await;
    let puts = watching.create(without(FilterType::NoDelete)).await;
    client.put("a", "1").await;
    let told = watching.next().await;
    assert_eq!((told.watch_id, show_events(&told).as_str()), (puts, "a=1@2"));
    client.delete("a").await;
    let told = watching.next().await;
    assert_eq!((told.watch_id, show_events(&told).as_str()), (deletions, "-a@3"));
}

#[tokio::test]
async fn progress_is_told_when_all_watches_are_up_to_date() {
    let client = Client::new();
    for index in 0..50 {
        client.put(&format!("k{index}"), "1").await;
    }
    let mut watching = Watching::on(&client).await;
    watching.create(WatchCreateRequest { start_revision: 2, ..of_key("k49") }).await;
    watching.send(WatchAsk::Progress(Empty {}));
    assert_eq!(show_events(&watching.next().await), "k49=1@51");
    let progress = watching.next().await;
    assert_eq!((progress.watch_id, progress.header.unwrap().revision, progress.events.len()), (-1, 51, 0));
    let quiet = watching.create(WatchCreateRequest { progress_notify: true, ..of_key("z") }).await;
    client.put("y", "1").await;
    loop {
        let told = watching.next().await;
        assert_eq!((told.watch_id, told.events.len()), (quiet, 0));
        if told.header.unwrap().revision == 52 {
            break;
        }
    }
}

#[tokio::test]
async fn watches_that_want_the_same_are_all_told() {
    let client = Client::new();
    let mut watching = Watching::on(&client).await;
    // More than fits into one piece.
    let many = 100;
    for _ in 0..many {
        watching.create(of_key("a")).await;
    }
    let split = watching.create(WatchCreateRequest { fragment: true, ..of_key("a") }).await;
    let all = watching.create(of_all()).await;
    let other = watching.create(of_key("b")).await;
    let large = "x".repeat(10_000);
    let put = |(key, value): (&str, &str)| {
        let put = PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() };
        RequestOp { request: Some(wire::Request::Put(put)) }
    };
    let both = TxnRequest { success: [("a", &*large), ("b", "1")].map(put).to_vec(), ..TxnRequest::default() };
    let _: TxnResponse = client.ask("KV/Txn", both).await.unwrap();
    let (a, b) = (format!("a={large}@2"), "b=1@2");
    for id in 0..many {
        let told = watching.next().await;
        assert_eq!((told.watch_id, show_events(&told)), (id, a.clone()));
        assert_eq!((told.header.unwrap().revision, told.fragment), (2, false));
    }
    for (id, events) in [(split, a.clone()), (all, format!("{a} {b}")), (other, b.to_owned())] {
        let told = watching.next().await;
        assert_eq!((told.watch_id, show_events(&told)), (id, events));
    }
    client.put("b", "2").await;
    for id in [all, other] {
        let told = watching.next().await;
        assert_eq!((told.watch_id, show_events(&told).as_str()), (id, "b=2@3"));
    }
}

#[tokio::test]
async fn a_large_revision_comes_in_fragments_if_asked() {
    let client = Client::new();
    let mut watching = Watching::on(&client).await;
    let mut whole = Watching::on(&client).await;
    watching.create(WatchCreateRequest { fragment: true, prev_kv: true, ..of_all() }).await;
    whole.create(WatchCreateRequest { prev_kv: true, ..of_all() }).await;
    let write = async |value: &str| {
        let put = |key: &str| {
            let put = PutRequest { key: bytes(key), value: value.repeat(700_000).into(), ..PutRequest::default() };
            RequestOp { request: Some(wire::Request::Put(put)) }
        };
        let txn = TxnRequest { success: vec![put("a"), put("b")], ..TxnRequest::default() };
        let _: TxnResponse = client.ask("KV/Txn", txn).await.unwrap();
    };
    write("1").await;
    let told = watching.next().await;
    assert!(!told.fragment && told.events.len() == 2, "it fits");
    assert_eq!(whole.next().await.events.len(), 2);
    write("2").await;
    let parts = [watching.next().await, watching.next().await];
    assert_eq!(parts.each_ref().map(|part| (part.fragment, part.events.len())), [(true, 1), (false, 1)]);
    assert!(parts.iter().all(|part| part.header.as_ref().unwrap().revision == 3));
    assert_eq!(whole.next().await.events.len(), 2);
}

#[tokio::test]
async fn a_stream_ends_with_the_server_or_the_client() {
    let client = Client::new();
    let mut watching = Watching::on(&client).await;
    watching.create(of_all()).await;
    let Watching { ask, mut told } = Watching::on(&client).await;
    drop(ask);
    assert_eq!(told.message().await.unwrap(), None);
    client.face.stop.cancel();
    let status = watching.told.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: server stopped"));
}

#[tokio::test]
async fn a_stream_that_wants_a_leader_ends_without_one() {
    let mut client = Client::new();
    let known = client.face.members.borrow().clone();
    let (members, receiver) = tokio::sync::watch::channel(known.clone());
    client.face = Arc::new(Face { members: receiver, ..Face::clone(&client.face) });
    let mut watching = Watching::on(&client).await;
    watching.create(of_all()).await;
    let leaderless = crate::store::group::Members { leader: None, ..known.clone() };
    members.send(leaderless.clone()).unwrap();
    members.send(known).unwrap();
    client.put("a", "1").await;
    assert_eq!(show_events(&watching.next().await), "a=1@2", "a moment without one is no matter");
    members.send(leaderless).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), watching.told.message()).await.unwrap();
    is_refused(ended, Code::Unavailable, "etcdserver: no leader");
    let mut question = tonic::Request::new(tokio_stream::empty::<WatchRequest>());
    question.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let mut grpc = Grpc::new(Direct(client.face.clone()));
    let refused = grpc.streaming(question, path("Watch/Watch"), Prost::<WatchRequest, WatchResponse>::new()).await;
    is_refused(refused.map(|_| ()), Code::Unavailable, "etcdserver: no leader");
}

/// Whichever way a watch gets its events, by itself or from what the stream shares.
#[tokio::test]
async fn each_watch_of_a_stream_gets_each_of_its_events_once() {
    use rand::{Rng as _, SeedableRng as _};
    let random = &mut rand::rngs::SmallRng::seed_from_u64(7);
    let client = Client::new();
    let mut watching = Watching::on(&client).await;
    // The key of each revision from 2 on, and where each watch begins: its keys and its first revision.
    let mut written: Vec<String> = Vec::new();
    let mut watches: BTreeMap<i64, (WatchCreateRequest, i64)> = BTreeMap::new();
    let mut told: BTreeMap<i64, Vec<(String, i64)>> = BTreeMap::new();
    let note = |response: WatchResponse, told: &mut BTreeMap<i64, Vec<(String, i64)>>| {
        assert!(!response.canceled, "{response:?}");
        for event in response.events {
            let kv = event.kv.unwrap();
            told.entry(response.watch_id)
                .or_default()
                .push((String::from_utf8_lossy(&kv.key).into_owned(), kv.mod_revision));
        }
    };
    for step in 0..400 {
        if step % 8 != 0 {
            let key = format!("k{}", random.random_range(0..6));
            client.put(&key, "v").await;
            written.push(key);
            continue;
        }
        let newest = i64::try_from(written.len()).unwrap() + 1;
        let from = random.random_range(1.max(newest - 40)..=newest + 3);
        let keys = match random.random_range(0..3) {
            0 => WatchCreateRequest { key: bytes("k1"), range_end: bytes("k4"), ..WatchCreateRequest::default() },
            1 => of_all(),
            _ => of_key(&format!("k{}", random.random_range(0..6))),
        };
        let id = i64::from(step) + 1;
        let request =
            WatchCreateRequest { start_revision: from, watch_id: id, prev_kv: random.random_bool(0.3), ..keys };
        watching.send(WatchAsk::Create(request.clone()));
        watches.insert(id, (request, from));
        loop {
            let response = watching.next().await;
            let is_created = response.created;
            note(response, &mut told);
            if is_created {
                break;
            }
        }
    }
    let newest = i64::try_from(written.len()).unwrap() + 1;
    for (id, (request, from)) in watches {
        let is_wanted = |key: &str| match (&*request.key, &*request.range_end) {
            (start, b"") => key.as_bytes() == start,
            (_, b"\0") => true,
            (start, end) => start <= key.as_bytes() && key.as_bytes() < end,
        };
        let wanted: Vec<(String, i64)> = (2..=newest)
            .zip(&written)
            .filter(|(revision, key)| *revision >= from && is_wanted(key))
            .map(|(revision, key)| (key.clone(), revision))
            .collect();
        while told.get(&id).map_or(0, Vec::len) < wanted.len() {
            note(watching.next().await, &mut told);
        }
        assert_eq!(told.remove(&id).unwrap_or_default(), wanted, "watch {id} of {request:?}");
    }
}
