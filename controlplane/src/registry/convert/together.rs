//! Watches that are told the same things at the same time, and ask a webhook about them once.
//!
//! Holds what is asked for only while somebody waits for it: nothing is remembered, so nothing grows old.

use api::kinds::Kind;
use api::{Object, Rejected};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use std::sync::Arc;

type Answer = Result<Vec<Arc<Object>>, Rejected>;
type Asking = BoxFuture<'static, Answer>;

/// The questions that are under way.
#[derive(Default)]
pub(in crate::registry) struct Together(Mutex<Vec<Question>>);

struct Question {
    kind: Arc<Kind>,
    objects: Vec<Arc<Object>>,
    answer: WeakShared<Asking>,
}

// === impl Together ===

impl Together {
    /// The answer that somebody waits for already, or the one to what `ask` makes of the objects.
    pub(super) fn join(
        &self,
        kind: &Arc<Kind>,
        objects: Vec<Arc<Object>>,
        ask: impl FnOnce(Arc<Kind>, Vec<Arc<Object>>) -> Asking,
    ) -> Shared<Asking> {
        let mut questions = self.0.lock();
        questions.retain(|one| one.answer.upgrade().is_some_and(|answer| answer.peek().is_none()));
        let known = questions.iter().find(|one| one.is_about(kind, &objects));
        if let Some(answer) = known.and_then(|known| known.answer.upgrade()) {
            return answer;
        }
        let answer = ask(Arc::clone(kind), objects.clone()).shared();
        if let Some(weak) = answer.downgrade() {
            questions.push(Question { kind: Arc::clone(kind), objects, answer: weak });
        }
        answer
    }
}

// === impl Question ===

impl Question {
    /// Watches of one collection share its objects.
    fn is_about(&self, kind: &Arc<Kind>, objects: &[Arc<Object>]) -> bool {
        Arc::ptr_eq(&self.kind, kind)
            && self.objects.len() == objects.len()
            && self.objects.iter().zip(objects).all(|(own, other)| Arc::ptr_eq(own, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn the_same_question_is_asked_once_at_a_time() {
        let kind = api::kinds::find(&api::resource::PODS).expect("it is built in");
        let object = |name: &str| {
            let tree = serde_json::json!({"metadata": {"name": name}});
            Arc::new(Object::from_tree(&tree).expect("an object"))
        };
        let (together, asked) = (Together::default(), AtomicUsize::new(0));
        let (a, b) = (object("a"), object("b"));
        let ask = |objects: &[&Arc<Object>]| {
            let objects = objects.iter().map(|one| Arc::clone(one)).collect();
            together.join(kind, objects, |_, objects| {
                asked.fetch_add(1, Ordering::Relaxed);
                async move { Ok(objects) }.boxed()
            })
        };
        let (first, second, other) = (ask(&[&a, &b]), ask(&[&a, &b]), ask(&[&b, &a]));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        for (asking, expect) in [(first, ["a", "b"]), (second, ["a", "b"]), (other, ["b", "a"])] {
            let answer = asking.await.expect("an answer");
            assert!(answer.iter().map(|one| one.name()).eq(expect));
        }
        drop(ask(&[&a, &b]));
        assert_eq!((asked.load(Ordering::Relaxed), together.0.lock().len()), (3, 1), "what is answered is asked anew");
        drop(ask(&[&a]));
        assert_eq!(together.0.lock().len(), 1, "nobody waits for the other any more");
    }
}
