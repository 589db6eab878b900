//! The members as etcd's clients see them, and what they may not change.

use super::*;
use crate::store::group::{self, MemberChange};

impl Client {
    async fn members(&self) -> Vec<Member> {
        let list: MembersResponse =
            self.ask("Cluster/MemberList", MemberListRequest { linearizable: true }).await.unwrap();
        list.members
    }

    async fn member<Q: Message + Default + 'static>(&self, method: &str, question: Q) -> Result<Vec<Member>, Status> {
        let answer: Result<MembersResponse, Status> = self.ask(&format!("Cluster/{method}"), question).await;
        answer.map(|answer| answer.members)
    }

    async fn learner(&self, id: u64, url: &str) {
        let member = group::Member { id, name: "learner".into(), url: url.into(), client_urls: Vec::new() };
        self.store.change_members(MemberChange::Add(member)).await.unwrap();
    }
}

#[tokio::test]
async fn a_member_is_listed_with_what_it_has_told() {
    let client = Client::new();
    let own = client.store.member_id();
    let named = |name: &str| Member { id: own, name: name.to_owned(), ..Member::default() };
    assert_eq!(client.members().await, [named(&format!("{own:x}"))]);
    let told = client.face.membership.clone();
    told.announce("one".into(), "https://10.0.0.1:6443".into(), vec!["https://10.0.0.1:2379".into()]).await;
    let (peer_urls, client_urls) = (vec!["https://10.0.0.1:6443".into()], vec!["https://10.0.0.1:2379".into()]);
    assert_eq!(client.members().await, [Member { peer_urls, client_urls, ..named("one") }]);
}

#[tokio::test]
async fn changes_that_make_no_sense_are_refused_in_etcds_words() {
    let client = Client::new();
    let own = client.store.member_id();
    let remove = async |id: u64| client.member("MemberRemove", MemberRequest { id }).await;
    let promote = async |id: u64| client.member("MemberPromote", MemberRequest { id }).await;
    let update = async |id: u64, urls: &[&str]| {
        let peer_urls = urls.iter().map(|url| (*url).to_owned()).collect();
        client.member("MemberUpdate", MemberUpdateRequest { id, peer_urls }).await
    };
    let add = async |urls: &[&str], is_learner: bool| {
        let peer_urls = urls.iter().map(|url| (*url).to_owned()).collect();
        client.member("MemberAdd", MemberAddRequest { peer_urls, is_learner }).await
    };
    let (unfit, invalid) = (Code::FailedPrecondition, Code::InvalidArgument);
    let few = "etcdserver: re-configuration failed due to not enough started members";
    for refused in [remove(7).await, promote(7).await, update(7, &["https://a:1"]).await] {
        is_refused(refused, Code::NotFound, "etcdserver: member not found");
    }
    is_refused(remove(own).await, unfit, few);
    is_refused(promote(own).await, unfit, "etcdserver: can only promote a learner member");
    client.learner(7, "https://10.0.0.7:6443").await;
    let unready = "etcdserver: can only promote a learner member which is in sync with leader";
    is_refused(promote(7).await, unfit, unready);
    is_refused(remove(own).await, unfit, few);
    for urls in [&[][..], &["nonsense"], &["https://a:1", "https://b"]] {
        is_refused(update(7, urls).await, invalid, "etcdserver: given member URLs are invalid");
        is_refused(add(urls, true).await, invalid, "etcdserver: given member URLs are invalid");
    }
    for urls in [&["https://a:1", "https://b:1"][..], &["http://a:1"]] {
        let refused = update(7, urls).await.unwrap_err();
        assert!(refused.code() == invalid && refused.message().contains("https://HOST:PORT"), "{refused}");
    }
    for refused in [update(own, &["https://10.0.0.7:6443"]).await, add(&["https://10.0.0.7:6443"], false).await] {
        is_refused(refused, unfit, "etcdserver: Peer URLs already exists");
    }
    for is_learner in [false, true] {
        let refused = add(&["https://a:1"], is_learner).await.unwrap_err();
        assert!(refused.code() == Code::Unimplemented && refused.message().contains("coracle member add"), "{refused}");
    }
}

#[tokio::test]
async fn a_learner_is_moved_and_removed() {
    let client = Client::new();
    client.learner(7, "https://10.0.0.7:6443").await;
    let peer_urls = vec!["https://10.0.0.8:6443".to_owned()];
    let request = MemberUpdateRequest { id: 7, peer_urls: peer_urls.clone() };
    let moved = client.member("MemberUpdate", request).await.unwrap();
    let seven = moved.iter().find(|member| member.id == 7).unwrap();
    assert_eq!((&seven.peer_urls, seven.name.as_str(), seven.is_learner), (&peer_urls, "learner", true));
    // Itself is nobody else.
    let request = MemberUpdateRequest { id: 7, peer_urls };
    assert_eq!(client.member("MemberUpdate", request).await.unwrap(), moved);
    let left = client.member("MemberRemove", MemberRequest { id: 7 }).await.unwrap();
    assert_eq!(left.iter().map(|member| member.id).collect::<Vec<_>>(), [client.store.member_id()]);
    assert_eq!(client.members().await, left);
}
